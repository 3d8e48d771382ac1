// What was typed before, in a file that several chats may add to at once and that a kill at any time leaves whole.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hearth::cli {

// One entry a line: a line feed in an entry is written as \n, a carriage return as \r, a backslash as two. Files that
// libedit wrote (earlier versions of hearth did so) are read, and become such files.
// Nothing here fails: without a history, typing goes on.
class HistoryFile {
 public:
  // `path` "": keeps nothing. What is not a file (/dev/null, a FIFO) is neither read nor written.
  explicit HistoryFile(std::string path);

  // The last entries, the oldest first. A file that has grown beyond them is made shorter.
  std::vector<std::string> load();
  // At the end of the file, in one piece; readable for its owner alone.
  void append(std::string_view entry);

  static constexpr size_t kEntries = 1000;
  static constexpr size_t kBytes = size_t(4) << 20;  // of the entries that are kept

 private:
  std::string path_;
};

}  // namespace hearth::cli
