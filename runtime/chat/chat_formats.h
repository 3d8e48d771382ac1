// Chat templates of our own for models whose files have none: the formats of the DeepSeek family, and two that many
// fine-tunes use.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hearth {

struct BuiltInFormat {
  std::string_view name;
  std::string jinja;
  std::vector<std::string_view> marks;  // control tokens without which the format means nothing
  enum class Vocabulary { deepseek_v2, deepseek_v3, other } vocabulary;  // of the models that use it
};

std::span<const BuiltInFormat> built_in_formats();

}  // namespace hearth
