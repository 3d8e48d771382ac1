#include "runtime/cli/prompt.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

#include "quant/error.h"
#include "runtime/cli/files.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

constexpr int kSilenceMs = 5000;  // a shell's pipe has begun long before

// Whether standard input is there to be read beside another source: a terminal and /dev/null are not. A pipe that
// nobody writes into and nobody closes must not stop a program that has its prompt already.
bool standard_input_speaks() {
  struct stat status {};
  if (fstat(STDIN_FILENO, &status) != 0) return false;
  if (S_ISREG(status.st_mode)) return true;
  if (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode)) return false;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  if (poll(&input, 1, kSilenceMs) > 0) return true;
  note("hearth: standard input is open and holds nothing: not waited for (</dev/null says that there is none)\n");
  return false;
}

std::string read_plain(const std::string& path) {
  std::string text = plain_text(read_text(path));
  require_utf8(text, path == "-" ? "standard input" : path);
  return text;
}

}  // namespace

std::string read_prompt(const PromptSources& sources) {
  std::string prompt;
  const auto add = [&](const std::string& text) {
    if (text.empty()) return;
    if (!prompt.empty()) prompt += "\n\n";
    prompt += text;
  };
  if (sources.text) {
    require_utf8(*sources.text, sources.text_name);
    add(*sources.text);
  }
  const bool given = sources.text || !sources.file.empty();
  if (!sources.file.empty()) add(read_plain(sources.file));
  require(given || !stdin_is_terminal(), ErrorKind::usage,
          "no prompt: give a question, --prompt TEXT or --file PATH, or pipe it in; `hearth chat` is a conversation");
  if (sources.file != "-" && (!given || standard_input_speaks())) add(read_plain("-"));
  require(!prompt.empty(), ErrorKind::usage, "the prompt is empty");
  return prompt;
}

}  // namespace hearth::cli
