// What is said, written down as Markdown while it is said.
#pragma once

#include <string>
#include <string_view>

#include "runtime/chat/thoughts.h"

namespace hearth::cli {

// Appends to a file, piece by piece, so that no way to end the program loses what was said. Questions and answers are
// sections under the names of who speaks, thoughts are quotations, what commands changed is in parentheses.
class Transcript {
 public:
  // path "": nothing is written. model: its name. Throws Error(file): cannot be opened.
  Transcript(const std::string& path, std::string model);
  ~Transcript();
  Transcript(const Transcript&) = delete;
  Transcript& operator=(const Transcript&) = delete;

  void question(std::string_view text);
  void piece(const SplitText& piece);  // of the answer
  void end_answer(std::string_view remark = {});
  void remark(std::string_view text);

  // Throws Error(file) once when something could not be written: nothing more will be.
  void require_written();

 private:
  void write(std::string_view text);
  void quote(std::string_view thoughts);

  std::string path_, model_, fault_;
  int fd_ = -1;  // nothing is written
  bool begun_ = false, answering_ = false, thinking_ = false;
};

}  // namespace hearth::cli
