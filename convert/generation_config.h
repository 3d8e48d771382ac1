// generation_config.json: the sampling settings that a checkpoint's makers recommend, and the tokens that end a text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quant/gguf.h"

namespace hearth {

struct GenerationConfig {
  std::optional<int64_t> bos;
  std::vector<int64_t> eos;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;  // 0: all
  std::vector<std::string> notes;
};

// Values out of range are left aside with a note. do_sample false means a temperature of 0, whatever `temperature`
// says. Throws Error(format) for text that is no JSON object.
GenerationConfig parse_generation_config(std::string_view text, const std::string& path, int64_t vocab_size);
// Reads the file of a folder; empty where there is none.
GenerationConfig read_generation_config(const std::string& dir, int64_t vocab_size);

// The general.sampling.* keys, as llama.cpp-family programs read them.
void add_sampling_metadata(const GenerationConfig& generation, GgufMetadata& metadata);

}  // namespace hearth
