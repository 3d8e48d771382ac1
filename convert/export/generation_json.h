// generation_config.json, written.
#pragma once

#include <optional>
#include <string>

#include "quant/gguf.h"

namespace hearth {

// The sampling settings that the file recommends, and every token that ends a text; what `convert` reads there
// (convert/generation_config.h). Greedy settings are written twice, do_sample false for transformers and temperature 0
// for vLLM and SGLang, which do not ask whether to sample. nullopt: the file tells nothing of it.
// Throws Error(format) for values of other types.
std::optional<std::string> generation_config_json(const GgufMetadata& metadata);

}  // namespace hearth
