#include "runtime/cli/line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <filesystem>
#include <iostream>

#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

// One character of standard input; 0 at its end, -1 after Ctrl-C, even one that came before we began to wait.
// (libedit's own reader would miss that one, and try once more after any other.)
int read_character(EditLine*, wchar_t* character) {
  std::mbstate_t state{};
  for (;;) {
    if (!wait_for_input()) return -1;
    char byte;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n == 0) return 0;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    const size_t length = std::mbrtowc(character, &byte, 1, &state);
    if (length == size_t(-2)) continue;  // the character goes on
    if (length == size_t(-1)) *character = L'\uFFFD';
    return 1;
  }
}

}  // namespace

struct LineEditor::Terminal {
  EditLine* edit = nullptr;
  History* history = nullptr;
  std::string history_path, prompt;

  static char* prompt_of(EditLine* edit) {
    Terminal* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return self->prompt.data();
  }
};

LineEditor::LineEditor(std::string history_path, std::vector<std::string>) {
  if (!stdin_is_terminal()) return;
  terminal_ = std::make_unique<Terminal>();
  terminal_->history_path = std::move(history_path);
  terminal_->edit = el_init("hearth", stdin, stderr, stderr);
  terminal_->history = history_init();
  HistEvent event;
  ::history(terminal_->history, &event, H_SETSIZE, 1000);
  ::history(terminal_->history, &event, H_SETUNIQUE, 1);
  if (!terminal_->history_path.empty()) ::history(terminal_->history, &event, H_LOAD, terminal_->history_path.c_str());
  el_set(terminal_->edit, EL_CLIENTDATA, terminal_.get());
  el_set(terminal_->edit, EL_GETCFN, &read_character);
  el_set(terminal_->edit, EL_PROMPT, &Terminal::prompt_of);
  el_set(terminal_->edit, EL_HIST, ::history, terminal_->history);
  el_set(terminal_->edit, EL_EDITOR, "emacs");
  el_source(terminal_->edit, nullptr);  // the user's ~/.editrc
}

LineEditor::~LineEditor() {
  if (!terminal_) return;
  HistEvent event;
  if (!terminal_->history_path.empty()) ::history(terminal_->history, &event, H_SAVE, terminal_->history_path.c_str());
  history_end(terminal_->history);
  el_end(terminal_->edit);
}

LineEditor::Got LineEditor::read_typed(const std::string& prompt, std::string& line) {
  line.clear();
  if (!terminal_) {
    if (!std::getline(std::cin, line)) return interrupted() ? Got::interrupt : Got::end;
    return Got::line;
  }
  terminal_->prompt = prompt;
  int count = 0;
  const char* text = el_gets(terminal_->edit, &count);
  if (interrupted()) {
    el_reset(terminal_->edit);
    note("\n");
    return Got::interrupt;
  }
  if (!text || count <= 0) return Got::end;
  line.assign(text, size_t(count));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return Got::line;
}

LineEditor::Got LineEditor::read(const std::string& prompt, std::string& line) {
  Got got = read_typed(prompt, line);
  while (got == Got::line && line.ends_with('\\')) {
    std::string next;
    got = read_typed("... ", next);
    if (got == Got::interrupt) return got;
    line.back() = '\n';
    line += next;
    if (got == Got::end) got = Got::line;
    if (next.empty()) break;
  }
  if (terminal_ && got == Got::line && !line.empty()) {
    HistEvent event;
    ::history(terminal_->history, &event, H_ENTER, line.c_str());
  }
  return got;
}

std::string default_history_path() {
  namespace fs = std::filesystem;
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  if ((!state || !*state) && (!home || !*home)) return "";
  const fs::path folder = (state && *state ? fs::path(state) : fs::path(home) / ".local" / "state") / "hearth";
  std::error_code error;
  fs::create_directories(folder, error);
  return error ? "" : (folder / "history").string();
}

}  // namespace hearth::cli
