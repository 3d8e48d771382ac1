// F32, F16, BF16: narrowing alone, nothing to search for.
#include <algorithm>
#include <cstring>

#include "quant/encode.h"
#include "quant/fp.h"

namespace hearth {

void encode_f32(const float* x, const float*, void* row, int64_t n) {
  memcpy(row, x, size_t(n) * sizeof(float));
}

void encode_f16(const float* x, const float*, void* row, int64_t n) {
  auto* out = static_cast<uint16_t*>(row);
  for (int64_t i = 0; i < n; ++i) out[i] = float_to_fp16(std::clamp(x[i], -65504.0f, 65504.0f));
}

void encode_bf16(const float* x, const float*, void* row, int64_t n) {
  constexpr float kLargest = 0x1.fep127f;
  auto* out = static_cast<uint16_t*>(row);
  for (int64_t i = 0; i < n; ++i) out[i] = float_to_bf16(std::clamp(x[i], -kLargest, kLargest));
}

}  // namespace hearth
