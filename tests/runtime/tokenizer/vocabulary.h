// A vocabulary small enough to follow by hand: 243 bytes, a few merges, a few added tokens.
#pragma once

#include <string>
#include <vector>

#include "quant/gguf.h"
#include "quant/gguf_keys.h"

namespace hearth::test {

// The character that stands for a byte: itself if it is visible, else the next free one from U+0100 on.
inline std::string byte_character(int byte) {
  const auto visible = [](int b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD); };
  int c = byte;
  if (!visible(byte)) {
    c = 0x100;
    for (int b = 0; b < byte; ++b) c += !visible(b);
  }
  if (c < 0x80) return {char(c)};
  return {char(0xC0 | c >> 6), char(0x80 | (c & 0x3F))};
}

struct SmallVocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  std::string pre = "deepseek-llm";

  void add(const std::string& text, TokenType type) {
    tokens.push_back(text);
    types.push_back(int32_t(type));
  }
  void merge(const std::string& left, const std::string& right) {
    merges.push_back(left + " " + right);
    add(left + right, TokenType::normal);
  }

  SmallVocabulary() {
    add("<｜begin▁of▁sentence｜>", TokenType::control);  // 0
    add("<｜end▁of▁sentence｜>", TokenType::control);    // 1
    for (int byte = 0; byte < 256; ++byte)
      if (byte != 0xC0 && byte != 0xC1 && byte < 0xF5) add(byte_character(byte), TokenType::normal);
    merge("a", "a");
    merge("b", "c");
    merge("a", "b");
    merge("ab", "c");
    merge("Ġ", "a");
    merge("Ġ", "aa");
    merge("è", "±");
    add("<｜User｜>", TokenType::control);
    add("<｜Assistant｜>", TokenType::control);
    add("<x", TokenType::user_defined);
    add("<xy>", TokenType::user_defined);
    add("ø", TokenType::user_defined);
    add("[PAD" + std::to_string(tokens.size()) + "]", TokenType::user_defined);  // padding all the same
    add("free", TokenType::unused);
  }

  GgufMetadata metadata() const {
    GgufMetadata m;
    m.source = "small.gguf";
    m.set(key::kTokenizerModel, GgufValue::of_string("gpt2"));
    m.set(key::kTokenizerPre, GgufValue::of_string(pre));
    m.set(key::kTokens, GgufValue::of_strings(tokens));
    m.set(key::kTokenTypes, GgufValue::of_i32s(types));
    m.set(key::kMerges, GgufValue::of_strings(merges));
    m.set(key::kBosTokenId, GgufValue::of_u32(0));
    m.set(key::kEosTokenId, GgufValue::of_u32(1));
    m.set(key::kPaddingTokenId, GgufValue::of_u32(1));
    return m;
  }
};

}  // namespace hearth::test
