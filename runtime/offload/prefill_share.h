// Prefill with experts that are not on the GPU: which of them the host computes, and which are copied to the GPU for
// this step. Both go on at the same time, so a layer takes as long as the longer of
//
//   host   sum over its experts of max(bytes / host_bandwidth, tokens / host_pairs)
//   copy   bytes of the others / copy_bandwidth; nothing for those that are on their way already
//
// (What the GPU then computes with them takes little time beside their copy, and is left out.) A copy costs the same
// for every expert, so the best k to copy are the k that cost the host most, and only k is chosen. With few tokens that
// is none, with many all of them; where this changes depends on the machine, whose rates are measured (PrefillRates).
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

// `bytes`: of an expert. A rate of 0 is not known: then the host does everything but what is on its way already.
PrefillShare share_experts(std::span<const Wanted> wanted, double bytes, const PrefillRates& rates,
                           PrefillPolicy policy);

// Moving averages of the rates seen at work: others use the machine too.
class PrefillRateMeter {
 public:
  explicit PrefillRateMeter(const PrefillRates& first = {}) : rates_(first) {}
  const PrefillRates& rates() const { return rates_; }
  // The host has computed n_experts of so many bytes each for n_pairs in all.
  void host(int64_t n_experts, int64_t n_pairs, double bytes, double seconds);
  // So many bytes were copied. `waited`: somebody waited for the end, so the time is that of the copy and not less.
  void copied(double bytes, double seconds, bool waited);

 private:
  PrefillRates rates_;
};

}  // namespace hearth
