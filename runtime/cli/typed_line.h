// One line that is typed on a terminal. There are two implementations, and a build has one of them: with GNU readline,
// or, where that is not installed, with libedit, which shows wide characters and long lines less well.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::cli {

class TypedLine {
 public:
  // `history`: what the arrow keys and Ctrl-R find, the oldest first; `commands`: see LineEditor.
  TypedLine(const std::vector<std::string>& history, std::vector<std::string> commands);
  ~TypedLine();
  TypedLine(const TypedLine&) = delete;
  TypedLine& operator=(const TypedLine&) = delete;

  struct Result {
    std::string text;  // several lines after a paste
    bool end = false;  // of the input, or Ctrl-D at an empty line
    bool interrupted = false;
    std::vector<std::string> pastes;  // into this line, or their pieces
  };
  // Afterwards the cursor is at the beginning of a row, but for `end`. Ctrl-C typed right behind a line is a signal
  // that comes when the line is read.
  // `begun`: the text that the line begins with, in front of what was typed ahead, as if it had been pasted.
  Result read(const std::string& prompt, std::string_view begun = {});

  void remember(const std::string& entry);

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

}  // namespace hearth::cli
