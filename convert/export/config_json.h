// config.json, written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "convert/export/format.h"
#include "convert/hf_config.h"

namespace hearth {

// As DeepSeek publishes it: their names, in their values' types, and no auto_map, as transformers, vLLM and SGLang have
// both classes themselves. quantization_config as the form of the weights asks for (model_files.h).
std::string config_json(const HfConfig& config, ExportFormat format, const std::vector<std::string>& not_converted);

// The config.json of a checkpoint whose weights are written in another form: quantization_config is taken out, or set,
// and all else stays, in its order. `path` is for messages. Throws Error(format) for text that is no JSON object (NaN
// and Infinity, which Python writes, are none), Error(model) where parse_hf_config does.
std::string requantized_config_json(std::string_view text, const std::string& path, ExportFormat format,
                                    const std::vector<std::string>& not_converted);

}  // namespace hearth
