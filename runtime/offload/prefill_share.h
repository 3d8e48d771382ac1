// Prefill with experts that are not on the GPU: which of them the host computes, and which are copied to the GPU for
// this step. Both go on at the same time, so a layer takes as long as the longer of
//
//   host   sum over its experts of max(bytes / host_bandwidth, tokens / host_pairs)
//   copy   bytes of the others / copy_bandwidth; nothing for those that are on their way already
//
// (what the GPU then computes with them is little beside their copy, and left out). A copy costs the same for every
// expert, so the best k to copy are the k dearest to the host: k is all there is to choose. With few tokens that is
// none, with many all of them; where it turns depends on the machine, whose rates are measured (PrefillRates).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hearth {

enum class PrefillPolicy {
  automatic,
  host,    // nothing is copied
  copy,    // all that are used are copied, when the router has said which
  stream,  // and the next layer's begin to be copied while this one computes
};

struct PrefillRates {
  double host_bandwidth = 0;  // bytes/s of weights with few tokens
  double host_pairs = 0;      // pairs of a token and an expert in a second, with many tokens
  double copy_bandwidth = 0;  // bytes/s
};

// An expert that some tokens have chosen, and that is not on the GPU.
struct Wanted {
  int32_t expert = 0;
  int32_t n_tokens = 0;
  bool on_its_way = false;
};

struct PrefillShare {
  std::vector<int32_t> copied;  // those on their way first
  double host_seconds = 0, copy_seconds = 0;
  double seconds() const { return host_seconds > copy_seconds ? host_seconds : copy_seconds; }
};

// `bytes`: of an expert. Rates of 0 are not known: then the host does it all, but for what is on its way.
PrefillShare share_experts(std::span<const Wanted> wanted, double bytes, const PrefillRates& rates,
                           PrefillPolicy policy);

// The rates as they are seen at work: a moving average, since machines are shared.
class PrefillRateMeter {
 public:
  explicit PrefillRateMeter(const PrefillRates& first = {}) : rates_(first) {}
  const PrefillRates& rates() const { return rates_; }
  // The host has computed n_experts of so many bytes each for n_pairs in all.
  void host(int64_t n_experts, int64_t n_pairs, double bytes, double seconds);
  // So many bytes were copied; `waited`: and somebody waited for the end of it, so that it took no less.
  void copied(double bytes, double seconds, bool waited);

 private:
  PrefillRates rates_;
};

}  // namespace hearth
