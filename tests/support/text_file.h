// Files as text, whole.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace hearth::test {

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_text(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary).write(text.data(), std::streamsize(text.size()));
}

}  // namespace hearth::test
