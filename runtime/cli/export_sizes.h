// What a model weighs as a checkpoint for vLLM or SGLang, in all and on each of several GPUs.
#pragma once

#include <cstdint>
#include <string>

#include "convert/export/format.h"
#include "quant/gguf.h"
#include "runtime/model/config.h"

namespace hearth::cli {

// Bytes of a checkpoint's tensors, by how engines divide them among GPUs.
struct ExportSizes {
  uint64_t copied = 0;   // on every GPU: what makes latents, norms, routers
  uint64_t divided = 0;  // attention by heads, FFNs and shared experts by width, embedding and head by rows
  uint64_t experts = 0;  // routed: by width, or whole ones
  uint64_t mtp = 0;      // loaded for speculation only
  uint64_t total() const { return copied + divided + experts + mtp; }
};

// What no configuration tells of a file.
struct InFile {
  bool tied = false;         // the embedding is the head, too
  int64_t n_mtp_layers = 0;  // whose tensors are there
  int64_t n_mtp_copies = 0;  // of embedding and head, in those layers
};
InFile what_is_in(const GgufFile& file, const ModelConfig& config);

// Which matrices are quantized is as hearth export chooses them: of INT4 the routed experts alone.
ExportSizes export_sizes(const ModelConfig& config, const InFile& in_file, ExportFormat format);

// How routed experts lie on GPUs: a part of each (tensor parallelism), or some of them whole (expert parallelism).
enum class ExpertsBy { width, number };

// Why `n` GPUs cannot divide the model by tensor parallelism, as "down_proj of experts: 1408 / 2 = 704 is no multiple
// of 128": heads and widths must divide, and parts of quantized matrices be of whole blocks. Empty: they can.
std::string why_not_divided(const ModelConfig& config, ExportFormat format, int64_t n, ExpertsBy experts);

}  // namespace hearth::cli
