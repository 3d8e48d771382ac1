// A Hugging Face tokenizer.json as the metadata that a converter would make of it, enough to build a Tokenizer.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quant/gguf.h"
#include "quant/gguf_keys.h"

namespace hearth::test {

// Added tokens that look like <｜...｜> or <|...|> are control tokens, other added ones are user-defined unless they
// are marked special; ids nobody has are padding.
inline GgufMetadata metadata_of_tokenizer_json(const std::string& path, const std::string& pre) {
  const auto json = nlohmann::json::parse(std::ifstream(path));
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  const auto set = [&](size_t id, const std::string& text, TokenType type) {
    for (size_t i = tokens.size(); i <= id; ++i) {
      tokens.push_back("[PAD" + std::to_string(i) + "]");
      types.push_back(int32_t(TokenType::unused));
    }
    tokens[id] = text;
    types[id] = int32_t(type);
  };
  for (const auto& [text, id] : json["model"]["vocab"].items()) set(id, text, TokenType::normal);
  for (const auto& added : json["added_tokens"]) {
    const std::string text = added["content"];
    const bool looks =
        (text.starts_with("<｜") && text.ends_with("｜>")) || (text.starts_with("<|") && text.ends_with("|>"));
    set(added["id"], text, looks || added["special"] ? TokenType::control : TokenType::user_defined);
  }
  std::vector<std::string> merges;
  for (const auto& merge : json["model"]["merges"])
    merges.push_back(merge.is_string() ? merge.get<std::string>()
                                       : merge[0].get<std::string>() + " " + merge[1].get<std::string>());

  GgufMetadata metadata;
  metadata.source = path;
  metadata.set(key::kTokenizerModel, GgufValue::of_string("gpt2"));
  metadata.set(key::kTokenizerPre, GgufValue::of_string(pre));
  metadata.set(key::kTokens, GgufValue::of_strings(std::move(tokens)));
  metadata.set(key::kTokenTypes, GgufValue::of_i32s(types));
  metadata.set(key::kMerges, GgufValue::of_strings(std::move(merges)));
  metadata.set(key::kBosTokenId, GgufValue::of_u32(0));
  metadata.set(key::kEosTokenId, GgufValue::of_u32(1));
  return metadata;
}

}  // namespace hearth::test
