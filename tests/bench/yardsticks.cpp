#include "tests/bench/yardsticks.h"

#include <algorithm>
#include <atomic>

#include "kernels/cpu/parallel.h"

namespace hearth::bench {
namespace {

constexpr size_t kAll = size_t(32) << 20, kPart = size_t(1) << 20;  // in words of 8 bytes

}  // namespace

Yardsticks::Yardsticks(int n_threads) : n_threads_(n_threads), data_(kAll, 1) {}

double Yardsticks::multiply_adds(Unit unit) {
  return best(units_[int(unit)], unit_peak(unit, n_threads_));
}

double Yardsticks::read() {
  return best(reads_, read_now());
}

double Yardsticks::best(std::vector<Seen>& seen, double now) const {
  const Clock::time_point at = Clock::now();
  std::erase_if(seen, [&](const Seen& old) { return at - old.when > std::chrono::minutes(1); });
  seen.push_back({at, now});
  return std::ranges::max(seen, {}, &Seen::value).value;
}

// 8 MB of 256 in turn: cold like the weights, and short enough that some turns are undisturbed. Four streams for each
// thread, since one core reads more from several than from one.
double Yardsticks::read_now() {
  double least = 1e9, total = 0;
  std::atomic<uint64_t> check = 0;
  const size_t share = kPart / size_t(n_threads_) / 4;
  while (total < 0.04) {
    const uint64_t* from = data_.data() + turn_++ % (kAll / kPart) * kPart;
    const auto start = Clock::now();
    parallel_parts(n_threads_, n_threads_, 1, [&](const Part& part) {
      const uint64_t* mine = from + size_t(part.begin) * share * 4;
      uint64_t sum = 0;
      for (size_t i = 0; i < share; ++i) {
        sum += (mine[i] + mine[i + share]) + (mine[i + share * 2] + mine[i + share * 3]);
      }
      check += sum;
    });
    const double s = std::chrono::duration<double>(Clock::now() - start).count();
    least = std::min(least, s);
    total += s;
  }
  return check == 0 ? 0 : double(share * 4 * size_t(n_threads_)) * 8 / least;
}

}  // namespace hearth::bench
