#include "convert/export/export_loss.h"

#include <fmt/format.h>

#include <cmath>

namespace hearth {

// Eight sums at once, or each addition would wait for the one before.
void SquareSums::add(const float* meant, const float* is, int64_t n) {
  constexpr int64_t kLanes = 8;
  double e[kLanes] = {}, s[kLanes] = {};
  const auto take = [&](int64_t i, int64_t lane) {
    const double off = double(is[i]) - double(meant[i]);
    e[lane] += off * off;
    s[lane] += double(meant[i]) * double(meant[i]);
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) take(i + lane, lane);
  }
  for (; i < n; ++i) take(i, 0);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    error += e[lane];
    square += s[lane];
  }
  weights += n;
}

void ExportLoss::add(const Format& from, const SquareSums& sums) {
  if (sums.weights == 0) return;
  const std::lock_guard lock(mutex_);
  SquareSums& total = by_format_[from.name];
  total.error += sums.error;
  total.square += sums.square;
  total.weights += sums.weights;
}

void ExportLoss::add_scales(int64_t n, int64_t rounded_by_bf16) {
  const std::lock_guard lock(mutex_);
  n_scales_ += n;
  n_rounded_ += rounded_by_bf16;
}

std::vector<std::string> ExportLoss::notes(const char* to) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> notes;
  for (const auto& [format, sums] : by_format_) {
    if (sums.error == 0) continue;
    notes.push_back(fmt::format("{} to {}: relative RMS error {:.3g} in {:.3g} million weights", format, to,
                                std::sqrt(sums.error / sums.square), double(sums.weights) / 1e6));
  }
  if (n_rounded_ > 0) {
    notes.push_back(
        fmt::format("scales are F16: an engine that computes in BF16 rounds {:.1f} % of them, by 0.2 % (2^-9) at most",
                    100.0 * double(n_rounded_) / double(n_scales_)));
  }
  return notes;
}

}  // namespace hearth
