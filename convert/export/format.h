// The forms of a Hugging Face checkpoint that `hearth export` writes.
#pragma once

#include <string>
#include <string_view>

namespace hearth {

enum class ExportFormat {
  kBf16,  // every weight BF16
  kFp8,   // DeepSeek's own: F8_E4M3 with a scale for each 128 x 128 weights
  kInt4,  // compressed-tensors pack-quantized: 4 bits, symmetric, a scale for each 128 weights of a row
};

const char* export_format_name(ExportFormat format);  // "fp8"
std::string export_format_names();                    // "bf16 fp8 int4"
// Throws Error(usage) that lists the names.
ExportFormat find_export_format(std::string_view name);

}  // namespace hearth
