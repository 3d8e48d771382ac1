// Names of headers and hosts are the same in any letters: ASCII's, whatever the locale.
#pragma once

#include <string>
#include <string_view>

namespace hearth::server {

inline std::string small_letters(std::string_view text) {
  std::string small(text);
  for (char& c : small)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return small;
}

}  // namespace hearth::server
