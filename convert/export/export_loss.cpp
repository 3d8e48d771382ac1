#include "convert/export/export_loss.h"

#include <fmt/format.h>

#include <cmath>

namespace hearth {

void SquareSums::add(const float* meant, const float* is, int64_t n) {
  double e = 0, s = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double off = double(is[i]) - meant[i];
    e += off * off;
    s += double(meant[i]) * meant[i];
  }
  error += e;
  square += s;
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
