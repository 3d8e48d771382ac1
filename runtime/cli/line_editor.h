// Reads what a person types: with editing and history on a terminal, plainly from a pipe.
#pragma once

#include <string>

namespace hearth::cli {

class LineEditor {
 public:
  enum class Got { line, end, interrupt };

  // The history is kept in `history_path` between runs ("" keeps none); a file that cannot be read or written is no
  // reason to fail.
  explicit LineEditor(std::string history_path);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // The next line without its end. A line that ends in a backslash goes on in the next one.
  Got read(const std::string& prompt, std::string& line);

 private:
  Got read_one(const std::string& prompt, std::string& line);

  struct Terminal;
  Terminal* terminal_ = nullptr;  // null: input is a pipe or a file
};

// $XDG_STATE_HOME/hearth/history, else ~/.local/state/hearth/history (folders are made); "" without a home.
std::string default_history_path();

}  // namespace hearth::cli
