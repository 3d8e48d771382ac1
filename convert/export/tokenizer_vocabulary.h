// The vocabulary of a GGUF file, sorted into the two places that a tokenizer.json has for tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert/pre_tokenizer_patterns.h"
#include "quant/gguf.h"

namespace hearth {

struct ExportedVocabulary {
  struct AddedToken {
    int64_t id = 0;
    bool special = false;  // left out of a text that is decoded without special tokens
  };

  const PreTokenizerPatterns* pre = nullptr;
  const std::vector<std::string>* tokens = nullptr;  // by id; the metadata's
  const std::vector<std::string>* merges = nullptr;  // "left right", by rank; the metadata's
  std::vector<int64_t> in_model;                     // ids of the tokens of model.vocab
  std::vector<AddedToken> added;                     // by id
  std::optional<int64_t> bos, eos, pad;
  bool add_bos = false, add_eos = false;

  const std::string& text(int64_t id) const { return (*tokens)[size_t(id)]; }
};

// Control and user-defined tokens are added ones. The library gives the added ones that are not in model.vocab the ids
// behind it, so those below or behind a gap are in both. Rows without a token are in neither.
// Refers to `metadata`. Throws Error(model): no tokenizer, or none of byte-level BPE with a known pre-tokenizer;
// Error(format): keys that are missing or contradict each other, two tokens of one text, an id out of range.
ExportedVocabulary exported_vocabulary(const GgufMetadata& metadata);

}  // namespace hearth
