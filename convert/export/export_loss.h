// What an export cost the weights that the new form does not hold exactly, by the format they had.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "quant/format.h"

namespace hearth {

// Sums over weights: of squared errors, and of squares.
struct SquareSums {
  double error = 0, square = 0;
  int64_t weights = 0;

  void add(const float* meant, const float* is, int64_t n);
};

class ExportLoss {
 public:
  void add(const Format& from, const SquareSums& sums);  // from several threads
  // Scales that were F16, and those of them that BF16 rounds.
  void add_scales(int64_t n, int64_t rounded_by_bf16);

  // One line for each format: "Q4_K to fp8: relative RMS error 0.021 (12.3 billion weights)"; and one of the scales.
  std::vector<std::string> notes(const char* to) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, SquareSums> by_format_;
  int64_t n_scales_ = 0, n_rounded_ = 0;
};

}  // namespace hearth
