// All that is known of a file without reading its weights, as one JSON document: hearth inspect --json.
#pragma once

#include <string>

#include "quant/gguf.h"
#include "runtime/eval/inspect.h"

namespace hearth {

// Members, in this order; what a file lets nobody know is null.
//
//   file        path, bytes, n_tensors, tensor_bytes, bits_per_weight, parts: [{path, bytes, n_tensors}]
//   runs_here   whether, and why_not
//   parameters  n, n_active (used per token), both without MTP layers
//   model       the hyper-parameters in the words of DeepSeek's own code, layout (kv_layout_name), notes of what was
//               taken for keys that are missing; null: not of this architecture
//   quantization, vocabulary, origin  as InspectReport has them
//   metadata    key: {type, value}, whole and in file order; numbers that are not finite are null
//   tensors     [{name, role, layer, format, type (GGUF's number), shape (rows before columns), part, offset (in the
//               part's file), bytes}], in file order
//
// Text is UTF-8, with U+FFFD for what is not.
std::string inspect_json(const GgufFile& file, const InspectReport& report);

}  // namespace hearth
