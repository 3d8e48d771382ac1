// Files whose text is put in front of a question.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hearth::cli {

struct AttachedFile {
  std::string name, text;
  int64_t n_tokens = 0;  // with the lines around it
};

// Reads a text as `plain_text` gives it (runtime/cli/files.h). Never more than a context of n_ctx tokens could hold is
// read, also of a file without end. Throws Error(file): cannot be read; Error(resource): larger; Error(usage): binary,
// not UTF-8, empty. Each is one line with the numbers.
std::string read_attachment(const std::string& path, int64_t n_ctx);

// The files as DeepSeek publishes it for questions about them (README of DeepSeek-R1, "file_template"), whichever model
// is asked; the question follows. "" for no files.
//
//   [file name]: notes.txt
//   [file content begin]
//   ...
//   [file content end]
std::string in_front_of_question(const std::vector<AttachedFile>& files);

}  // namespace hearth::cli
