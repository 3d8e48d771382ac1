// Small text files, written whole or not at all.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hearth {

// Throws Error(file): no such file, cannot be read; Error(format): more than `at_most` bytes.
std::string read_text_file(const std::string& path, size_t at_most);
// Written whole or not at all (quant/output_file.h). Throws Error(file).
void write_text_file(const std::string& path, std::string_view text);

}  // namespace hearth
