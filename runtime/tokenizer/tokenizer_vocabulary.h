// The vocabulary of a byte-level BPE tokenizer, as a GGUF file stores it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "runtime/tokenizer/tokenizer_bpe.h"

namespace hearth {

struct Vocabulary {
  std::vector<std::string> bytes;        // by token: what it stands for
  std::vector<TokenType> types;          // by token; padding rows are `unused`, whatever the file calls them
  std::array<int32_t, 256> byte_tokens;  // -1: a byte that is not part of UTF-8 and has no token
  std::vector<Merge> merges;             // by rank
  std::optional<int32_t> bos, eos, pad;
  std::vector<int32_t> other_ends;  // that end a text besides eos
  bool add_bos = true;
};

// Throws Error(format) for what is missing or contradicts itself.
Vocabulary read_vocabulary(const GgufMetadata& metadata);

// What the vocabulary does not say and read_vocabulary takes for granted, a line each.
std::vector<std::string> vocabulary_guesses(const GgufMetadata& metadata);

}  // namespace hearth
