// Text from strangers, for messages.
#pragma once

#include <string>
#include <string_view>

namespace hearth::hub {

// Shortened, without control characters and without bytes that are no ASCII.
inline std::string one_line(std::string_view text, size_t at_most = 300) {
  std::string out(text.substr(0, at_most));
  for (char& c : out)
    if (const auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte > 0x7e) c = '?';
  return out;
}

}  // namespace hearth::hub
