// Who computes what in prefill: against every other way of sharing, and against the fixed policies.
#include "runtime/offload/prefill_share.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

using namespace hearth;

namespace {

// Tokens per expert as a router of E experts, K a token, spreads T tokens; some experts are busier.
std::vector<Wanted> routed(std::mt19937& random, int64_t T, int64_t E, int64_t K) {
  std::vector<double> odds;
  for (int64_t e = 0; e < E; ++e) odds.push_back(std::exponential_distribution<double>()(random) + 0.1);
  std::discrete_distribution<int> expert(odds.begin(), odds.end());
  std::vector<Wanted> all;
  for (int64_t e = 0; e < E; ++e) all.push_back({int32_t(e), 0, false});
  for (int64_t i = 0; i < T * K; ++i) ++all[size_t(expert(random))].n_tokens;
  std::erase_if(all, [](const Wanted& w) { return w.n_tokens == 0; });
  return all;
}

double seconds_of(const std::vector<Wanted>& wanted, const std::vector<bool>& copied, double bytes,
                  const PrefillRates& rates) {
  double host = 0, copy = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (copied[i]) {
      copy += bytes / rates.copy_bandwidth;
    } else {
      host += std::max(bytes / rates.host_bandwidth, wanted[i].n_tokens / rates.host_pairs);
    }
  }
  return std::max(host, copy);
}

constexpr double kExpert = 14e6;  // bytes, V2-236B in four bits

// A desktop with a slow bus, a workstation, a server with a fast CPU.
constexpr PrefillRates kMachines[] = {{50e9, 6000, 6e9}, {80e9, 15000, 25e9}, {300e9, 60000, 50e9}};

}  // namespace

TEST_CASE("prefill: no other way of sharing a few experts is faster") {
  std::mt19937 random(1);
  for (const PrefillRates& rates : kMachines) {
    for (const int64_t T : {1, 4, 30, 300}) {
      const auto wanted = routed(random, T, 9, 3);
      double best = 1e9;
      for (uint32_t mask = 0; mask < 1u << wanted.size(); ++mask) {
        std::vector<bool> copied;
        for (size_t i = 0; i < wanted.size(); ++i) copied.push_back(mask >> i & 1);
        best = std::min(best, seconds_of(wanted, copied, kExpert, rates));
      }
      const PrefillShare share = share_experts(wanted, kExpert, rates, PrefillPolicy::automatic);
      CHECK(share.seconds() == doctest::Approx(best));
      std::vector<bool> copied;
      for (const Wanted& w : wanted) copied.push_back(std::ranges::count(share.copied, w.expert) > 0);
      CHECK(seconds_of(wanted, copied, kExpert, rates) == doctest::Approx(share.seconds()));
    }
  }
}

TEST_CASE("prefill: at every length the automatic choice takes no longer than the best fixed policy") {
  std::mt19937 random(2);
  for (const PrefillRates& rates : kMachines) {
    size_t least = 1000, most = 0;
    for (int64_t T = 1; T <= 8192; T *= 2) {
      CAPTURE(T);
      const auto wanted = routed(random, T, 160, 6);
      const auto seconds = [&](PrefillPolicy policy) {
        return share_experts(wanted, kExpert, rates, policy).seconds();
      };
      const double automatic = seconds(PrefillPolicy::automatic);
      CHECK(automatic <= 1.000001 * std::min(seconds(PrefillPolicy::host), seconds(PrefillPolicy::copy)));
      const size_t n = share_experts(wanted, kExpert, rates, PrefillPolicy::automatic).copied.size();
      least = std::min(least, n);
      most = std::max(most, n);
    }
    CHECK(least <= 1);  // one token is the host's
    CHECK(most >= 40);  // thousands are not
  }
}

TEST_CASE("prefill: what is on its way is free, and unknown rates leave the work where it is") {
  const std::vector<Wanted> wanted = {{3, 50, false}, {5, 1, true}, {9, 2, false}, {11, 50, false}};
  const PrefillShare share = share_experts(wanted, kExpert, kMachines[1], PrefillPolicy::automatic);
  CHECK(share.copied.front() == 5);
  CHECK(std::ranges::count(share.copied, 9) == 0);
  CHECK(share_experts(wanted, kExpert, {}, PrefillPolicy::automatic).copied == std::vector<int32_t>{5});
  CHECK(share_experts(wanted, kExpert, kMachines[1], PrefillPolicy::host).copied == std::vector<int32_t>{5});
  CHECK(share_experts(wanted, kExpert, {}, PrefillPolicy::copy).copied == std::vector<int32_t>{5, 3, 11, 9});
  CHECK(share_experts({}, kExpert, kMachines[1], PrefillPolicy::automatic).seconds() == 0);
}

TEST_CASE("prefill: rates are what was seen: bandwidth with few tokens, pairs with many") {
  PrefillRateMeter meter;
  CHECK(meter.rates().host_bandwidth == 0);
  meter.host(6, 6, 1e7, 6e7 / 50e9);
  CHECK(meter.rates().host_bandwidth == doctest::Approx(50e9));
  CHECK(meter.rates().host_pairs == 0);
  meter.host(10, 1000, 1e7, 0.5);  // slower than the bytes
  CHECK(meter.rates().host_pairs == doctest::Approx(2000));
  CHECK(meter.rates().host_bandwidth == doctest::Approx(50e9));
  meter.host(6, 6, 1e7, 6e7 / 100e9);
  CHECK(meter.rates().host_bandwidth == doctest::Approx(62.5e9));  // a quarter of the way
  meter.copied(1e9, 0.1, false);
  CHECK(meter.rates().copy_bandwidth == doctest::Approx(1e10));
  meter.copied(1e9, 1, false);  // it was done long before somebody looked
  CHECK(meter.rates().copy_bandwidth == doctest::Approx(1e10));
  meter.copied(1e9, 0.2, true);
  CHECK(meter.rates().copy_bandwidth == doctest::Approx(8.75e9));
  meter.host(0, 0, 1e7, 0);
  meter.copied(0, 1, true);
  CHECK(meter.rates().copy_bandwidth == doctest::Approx(8.75e9));
}
