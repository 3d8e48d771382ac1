// Text and bytes in and out of files, with errors that name the file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace hearth::cli {

// The whole of a file or, for "-", of standard input. Throws Error(file).
std::string read_text(const std::string& path);

// Throws Error(usage) naming where the text came from and its first bad byte.
void require_utf8(const std::string& text, const std::string& where);

// Writes beside the target and renames: the path holds the whole content or what it held before. Throws Error(file).
void write_file(const std::string& path, std::span<const std::byte> bytes);

}  // namespace hearth::cli
