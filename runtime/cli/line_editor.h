// Reads what a person types: with editing, completion and history on a terminal, plainly from a pipe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/cli/history_file.h"

namespace hearth::cli {

class TypedLine;

class LineEditor {
 public:
  enum class Got {
    line,       // one line, or several that a typed backslash at their ends joins: it may be a command
    text,       // what stood between """ and """, or a pasted text of several lines: it is no command
    end,        // of the input, or Ctrl-D at an empty line
    interrupt,  // interrupted(): Ctrl-C, or a signal that ends the program (ending_signal())
  };

  // The history is kept in `history_path` between runs ("" keeps none); a file that cannot be read or written is no
  // reason to fail. `commands` are what Tab completes at the beginning of a line: "/help"; "/system ", behind which a
  // text follows; "/read PATH", behind which Tab completes the path of a file.
  explicit LineEditor(std::string history_path, std::vector<std::string> commands = {});
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // The next message without its end. On a terminal it may have several lines, joined by '\n': a paste, the lines from
  // a line that begins with """ to one that ends so, or a line that ends in a backslash and the next one. In a pipe
  // every line is a message as it stands, but for a byte order mark at the start and CR before LF.
  // `begun`: the text that stands there to be edited; nothing in a pipe.
  Got read(const std::string& prompt, std::string& message, const std::string& begun = "");

 private:
  Got read_typed(const std::string& prompt, std::string& message, const std::string& begun);
  Got read_block(std::string& message);
  Got read_plain(std::string& message);

  std::unique_ptr<TypedLine> typed_;  // null: input is a pipe or a file
  HistoryFile history_;
  std::string last_entry_;
  std::string unread_;    // of a pipe
  bool at_start_ = true;  // of a pipe
};

// $XDG_STATE_HOME/hearth/history, else ~/.local/state/hearth/history (folders are made); "" without a home.
std::string default_history_path();

}  // namespace hearth::cli
