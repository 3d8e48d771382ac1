// Weights through float32 once, by the encoders that files are made with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "convert/export/export_loss.h"
#include "convert/export/weight_rows.h"

namespace hearth {

// Rows first .. first + n -> blocks of `format` in `out`, and into `loss` what that costs. `out` is one of `scratch`'s
// that WeightRows::read leaves alone. Throws Error(format) for weights that are not finite.
void encode_anew(const ExportWeight& weight, const Format& format, int64_t first, int64_t n, ExportScratch& scratch,
                 std::vector<std::byte>& out, ExportLoss& loss);

}  // namespace hearth
