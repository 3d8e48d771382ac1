// The forms in which a model is written for vLLM and SGLang.
#pragma once

namespace hearth {

// kBf16: all weights as they are. kFp8: DeepSeek's own, a scale for each block of 128 x 128. kInt4: compressed-tensors'
// pack-quantized, symmetric, a scale for each 128 weights of a row.
enum class ExportFormat { kBf16, kFp8, kInt4 };

}  // namespace hearth
