// A GGUF file's metadata as the fields of config.json: add_model_metadata (convert/hf_config.h) read backwards.
#pragma once

#include "convert/hf_config.h"
#include "quant/gguf.h"

namespace hearth {

// What convert writes for the result is what was read. Numbers are the shortest decimals that stand for the file's
// floats: 1e-06, not 9.999999974752427e-07. Layers for multi-token prediction are those that
// hearth.mtp_layer_count tells, or deepseek2.nextn_predict_layers, which others count in block_count.
// Throws Error(model), naming file and key, for another architecture, a key that is missing (old files; see
// runtime/model/current_keys.h), of another type, out of range, or a combination that config.json has no words for.
HfConfig config_of_metadata(const GgufMetadata& metadata);

// The shortest decimal that stands for this float, as a double: 0.707, not 0.7070000171661377.
double shortest_decimal(float value);

}  // namespace hearth
