// The pre-tokenizers of this family, as the steps of a tokenizer.json that cut text into words (docs/model.md section
// 6).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hearth {

struct PreTokenizerPatterns {
  std::string name;                   // value of tokenizer.ggml.pre
  std::vector<std::string> patterns;  // in order; each cuts what the one before left. Line ends are escaped.
};

// One digit by itself: files write this step as {"type": "Digits", "individual_digits": true}.
inline constexpr const char* kOneDigit = "\\p{N}";

// deepseek-llm (V2, V2-Lite, Coder-V2, V2.5), deepseek-coder (the first Coder) and deepseek-v3 (V3, R1).
const std::vector<PreTokenizerPatterns>& known_pre_tokenizers();

// The one of that name; null: none has it.
const PreTokenizerPatterns* find_pre_tokenizer(std::string_view name);

}  // namespace hearth
