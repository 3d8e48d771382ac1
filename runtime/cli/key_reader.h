// What comes from the keyboard, sorted: characters and keys that mean something, whole pastes, and the rest, which is
// left out. For the libraries that edit lines: unknown keys would put the ends of their escape sequences into a line.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>

namespace hearth::cli {

inline constexpr std::string_view kPasteBegins = "\033[200~", kPasteEnds = "\033[201~";

class KeyReader {
 public:
  static constexpr int kEnd = -1;

  // `has_meaning` says of an escape sequence ("\033[A") whether the editor knows it; one that it does not know is left
  // out. `woken` is called when wait_for_input was.
  KeyReader(std::function<bool(std::string_view)> has_meaning, std::function<void()> woken);

  // The next byte; kEnd at the end of the input, and as long as interrupted(). Ctrl-C, Ctrl-Z and Ctrl-backslash become
  // signals here and not in the terminal, so that they are no signals in a paste. A paste begins with kPasteBegins;
  // then read_paste is to be called.
  int next();
  // What was pasted, with '\n' at the ends of lines. A paste that halts comes in several pieces, each with
  // kPasteBegins.
  std::string read_paste();
  // The text is read next, as a paste. Its control characters, which could end that, are left out.
  void paste(std::string_view text);
  // Whether next() would wait.
  bool idle() const;
  // A line is complete: Ctrl-C that was typed right behind it is for the answer.
  void end_line();

 private:
  int byte(int timeout_ms);
  void put_back(std::string_view bytes) { unread_.insert(unread_.begin(), bytes.begin(), bytes.end()); }
  std::string after_escape();
  bool paste_goes_on();

  std::function<bool(std::string_view)> has_meaning_;
  std::function<void()> woken_;
  std::deque<char> unread_;  // came from the terminal, not looked at yet
  std::deque<char> ready_;   // what next() gives
  bool in_paste_ = false;    // its end has not been seen
  bool after_return_ = false;
};

}  // namespace hearth::cli
