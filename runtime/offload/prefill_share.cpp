#include "runtime/offload/prefill_share.h"

#include <algorithm>

namespace hearth {
namespace {

double host_cost(const Wanted& w, double bytes, const PrefillRates& rates) {
  return std::max(bytes / rates.host_bandwidth, rates.host_pairs > 0 ? w.n_tokens / rates.host_pairs : 0.0);
}

void learn(double& rate, double seen) {
  constexpr double kWeight = 0.25;
  rate = rate > 0 ? rate + kWeight * (seen - rate) : seen;
}

}  // namespace

PrefillShare share_experts(std::span<const Wanted> wanted, double bytes, const PrefillRates& rates,
                           PrefillPolicy policy) {
  PrefillShare share;
  std::vector<Wanted> rest;
  for (const Wanted& w : wanted) {
    if (w.on_its_way) {
      share.copied.push_back(w.expert);
    } else {
      rest.push_back(w);
    }
  }
  const bool known = rates.host_bandwidth > 0 && rates.copy_bandwidth > 0;
  const double copy = known ? bytes / rates.copy_bandwidth : 0;
  for (const Wanted& w : rest) share.host_seconds += known ? host_cost(w, bytes, rates) : 0;
  if (policy == PrefillPolicy::host || (policy == PrefillPolicy::automatic && !known)) return share;

  std::ranges::stable_sort(rest, std::greater(), &Wanted::n_tokens);
  for (const Wanted& w : rest) {
    const double host = share.host_seconds - (known ? host_cost(w, bytes, rates) : 0);
    const double copied = share.copy_seconds + copy;
    if (policy == PrefillPolicy::automatic && std::max(host, copied) >= share.seconds()) break;
    share.copied.push_back(w.expert);
    share.host_seconds = std::max(host, 0.0);
    share.copy_seconds = copied;
  }
  return share;
}

void PrefillRateMeter::host(int64_t n_experts, int64_t n_pairs, double bytes, double seconds) {
  if (n_experts == 0 || seconds <= 0) return;
  // Up to some tokens an expert takes as long as its bytes; beyond, as its products.
  constexpr int64_t kFew = 4, kMany = 16;
  const double bandwidth = double(n_experts) * bytes / seconds;
  if (n_pairs <= kFew * n_experts) {
    learn(rates_.host_bandwidth, bandwidth);
  } else {
    rates_.host_bandwidth = std::max(rates_.host_bandwidth, bandwidth);  // so much at least
  }
  if (n_pairs >= kMany * n_experts) learn(rates_.host_pairs, double(n_pairs) / seconds);
}

void PrefillRateMeter::copied(double bytes, double seconds, bool waited) {
  if (bytes <= 0 || seconds <= 0) return;
  if (waited) {
    learn(rates_.copy_bandwidth, bytes / seconds);
  } else {
    rates_.copy_bandwidth = std::max(rates_.copy_bandwidth, bytes / seconds);
  }
}

}  // namespace hearth
