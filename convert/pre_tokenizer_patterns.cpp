#include "convert/pre_tokenizer_patterns.h"

#include <algorithm>
#include <charconv>

#include "quant/llm_letters.h"

namespace hearth {

namespace {

constexpr const char* kCjk = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += char(c);
    return;
  }
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;  // bytes after the first
  out += char((0xFF00 >> (more + 1) & 0xFF) | c >> 6 * more);
  for (int i = more - 1; i >= 0; --i) out += char(0x80 | (c >> 6 * i & 0x3F));
}

// The text with each \x{NUMBER} as the character of that number.
std::string with_characters(std::string_view text) {
  constexpr std::string_view kBegin = "\\x{";
  std::string out;
  while (!text.empty()) {
    if (!text.starts_with(kBegin)) {
      out += text.front();
      text.remove_prefix(1);
      continue;
    }
    const std::string_view digits = text.substr(kBegin.size(), text.find('}') - kBegin.size());
    uint32_t c = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), c, 16);
    append_utf8(out, c);
    text.remove_prefix(kBegin.size() + digits.size() + 1);
  }
  return out;
}

}  // namespace

const std::vector<PreTokenizerPatterns>& known_pre_tokenizers() {
  static const std::vector<PreTokenizerPatterns> known = {
      {"deepseek-llm",
       {"[\\r\\n]", "\\s?[" + with_characters(kLlmLetters) + "]+",
        "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$", kCjk, kOneDigit}},
      {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kCjk, kOneDigit}},
      {"deepseek-v3",
       {"\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
        "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
  };
  return known;
}

const PreTokenizerPatterns* find_pre_tokenizer(std::string_view name) {
  const auto& known = known_pre_tokenizers();
  const auto found = std::ranges::find(known, name, &PreTokenizerPatterns::name);
  return found == known.end() ? nullptr : &*found;
}

}  // namespace hearth
