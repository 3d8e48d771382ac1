// Text from files, with errors that name the file.
#pragma once

#include <string>

namespace hearth::cli {

// The whole of a file or, for "-", of standard input. Throws Error(file).
std::string read_text(const std::string& path);

// The rule for text of files and pipes: without byte order mark, with \n as line ends, without the last one.
std::string plain_text(std::string text);

// Throws Error(usage) naming where the text came from and its first bad byte.
void require_utf8(const std::string& text, const std::string& where);

}  // namespace hearth::cli
