// What the machine can do, measured beside what is compared with it: a virtual machine's speed changes from one minute
// to the next.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "tests/bench/unit_peaks.h"

namespace hearth::bench {

class Yardsticks {
 public:
  explicit Yardsticks(int n_threads);

  // Multiply-adds, and bytes read from memory, per second: measured now, or the best of the last minute; 0: none.
  double multiply_adds(Unit unit);
  double read();

 private:
  using Clock = std::chrono::steady_clock;
  struct Seen {
    Clock::time_point when;
    double value;
  };
  double best(std::vector<Seen>& seen, double now) const;
  double read_now();

  int n_threads_;
  std::vector<uint64_t> data_;
  size_t turn_ = 0;
  std::vector<Seen> reads_, units_[kUnits];
};

}  // namespace hearth::bench
