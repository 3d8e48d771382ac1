// tokenizer.json and tokenizer_config.json of the DeepSeek family -> tokenizer.ggml.* keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quant/gguf.h"

namespace hearth {

struct HfTokenizer {
  std::string pre;                  // deepseek-llm, deepseek-coder or deepseek-v3
  std::vector<std::string> tokens;  // [vocab_size], by id; ids without a token hold "[PADn]"
  std::vector<int32_t> types;       // TokenType, by id
  std::vector<std::string> merges;  // "left right", by rank
  std::optional<int64_t> bos, eos, pad;
  std::vector<int64_t> other_ends;  // further tokens that end a text
  bool add_bos = true, add_eos = false;
  std::optional<std::string> chat_template;
  std::vector<std::string> notes;
};

// The texts of a checkpoint's tokenizer files; `dir` is for messages.
struct TokenizerTexts {
  std::string dir;
  std::string_view tokenizer_json, tokenizer_config;
  std::optional<std::string_view> chat_template;       // chat_template.jinja: takes precedence over the others
  std::optional<std::string_view> chat_template_json;  // chat_template.json, as processors save it
  // special_tokens_map.json: names tokens that tokenizer_config.json does not name.
  std::optional<std::string_view> special_tokens_map;
};

// Added tokens that are also ordinary words are matched as a whole and can still come out of merges, as in the
// tokenizers library. Throws Error(format) for bad JSON, ids that collide or lie outside of [0, vocab_size), merges of
// unknown tokens; Error(model) for a tokenizer of another kind.
HfTokenizer parse_hf_tokenizer(const TokenizerTexts& texts, int64_t vocab_size);
HfTokenizer read_hf_tokenizer(const std::string& dir, int64_t vocab_size);

// Token ids from config.json and generation_config.json: BOS, EOS and PAD count where the tokenizer's files name none;
// all other end tokens are added to other_ends.
struct TokenIds {
  std::optional<int64_t> bos, pad;
  std::vector<int64_t> eos;
};
void add_token_ids(const TokenIds& ids, HfTokenizer& tokenizer);

// DeepSeek-V3 does not mark its role and tool tokens special: <｜User｜> and <|EOT|> are told by how they are written.
bool looks_like_control(std::string_view token);

void add_tokenizer_metadata(const HfTokenizer& tokenizer, GgufMetadata& metadata);

}  // namespace hearth
