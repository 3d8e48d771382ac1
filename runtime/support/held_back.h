// Text that is still coming, and words that it may be the beginning of.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace hearth {

// How much of the end of `text` may be the beginning of `word`: less than all of it.
inline size_t begun(std::string_view text, std::string_view word) {
  size_t n = std::min(text.size(), word.size() - 1);
  while (!text.ends_with(word.substr(0, n))) --n;
  return n;
}

}  // namespace hearth
