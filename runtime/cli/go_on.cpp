#include "runtime/cli/go_on.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "quant/error.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

// As a shell reads it.
std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain = "-_./+=:,@%";
  const auto plain = [&](unsigned char c) {
    return c >= 0x80 || std::isalnum(c) || kPlain.find(char(c)) != std::string_view::npos;
  };
  if (std::all_of(text.begin(), text.end(), plain)) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// A line that is typed; "" at the end of input. The terminal edits it.
std::string typed_line() {
  std::string line;
  char c = 0;
  while (wait_for_input() == Input::ready && read(STDIN_FILENO, &c, 1) == 1 && c != '\n') line += c;
  if (c != '\n') note("\n");
  check_interrupt();
  return line;
}

bool is_yes(std::string_view line) {
  while (!line.empty() && line.back() == ' ') line.remove_suffix(1);
  return line == "y" || line == "Y" || line == "yes" || line == "Yes";
}

}  // namespace

void offer(const std::string& question, std::vector<std::string> words) {
  words.insert(words.begin(), "hearth");
  std::string command;
  for (const std::string& word : words) command += (command.empty() ? "" : " ") + shell_word(word);
  flush_out();
  if (stdin_is_terminal() && stdout_is_terminal() && stderr_is_terminal()) {
    note("{} [y/N] ", question);
    if (is_yes(typed_line())) {
      note("{}\n", command);
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      execv("/proc/self/exe", arguments.data());
      fail(ErrorKind::resource, "{}: cannot begin: {}", command, std::generic_category().message(errno));
    }
  }
  note("go on with:  {}\n", command);
}

}  // namespace hearth::cli
