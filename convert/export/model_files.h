// The small files of a Hugging Face checkpoint, made from a GGUF file's metadata: what vLLM and SGLang read beside the
// weights.
#pragma once

#include <string>
#include <vector>

#include "convert/export/format.h"
#include "quant/gguf.h"

namespace hearth {

struct ModelFile {
  std::string name;  // "config.json"
  std::string text;
};

// config.json, generation_config.json, tokenizer.json and tokenizer_config.json: `convert` makes the same metadata from
// them again. `metadata` has the keys of current files (runtime/model/current_keys.h gives them to older ones).
// `not_converted` are modules whose weights stay BF16 in a quantized form ("model.layers.0.mlp.gate_proj"); the head
// and the routers, which always do, need not be among them. `tied_embeddings`: there is no lm_head.weight.
// Throws Error(model) or Error(format) naming the file and the key: another architecture, keys that are missing or out
// of range, no tokenizer, or one of a kind that tokenizer.json is not known for here.
std::vector<ModelFile> model_files(const GgufMetadata& metadata, ExportFormat format,
                                   const std::vector<std::string>& not_converted, bool tied_embeddings = false);

}  // namespace hearth
