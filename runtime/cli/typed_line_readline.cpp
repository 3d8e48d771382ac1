// With GNU readline: its keys, its history and the user's ~/.inputrc ("hearth" is our name there). What is read and
// what is shown goes through our own hands (KeyReader, LineDisplay), so it is the same with every version of the
// library.
#include <cstdio>  // readline's headers want it

#include <readline/history.h>
#include <readline/readline.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cstdlib>
#include <optional>
#include <utility>

#include "runtime/cli/completion.h"
#include "runtime/cli/key_reader.h"
#include "runtime/cli/line_display.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/typed_line.h"
#include "runtime/cli/typing_mode.h"

namespace hearth::cli {

struct TypedLine::Library {
  std::vector<std::string> commands;
  std::vector<std::string> pastes;  // into the line that is being read
  TypingMode mode;
  KeyReader keys;
  std::optional<LineDisplay> display;  // none: a dumb terminal, where readline shows one row and moves it sideways

  explicit Library(std::vector<std::string> words);
  void woken();
  void redisplay();
  void show_choices(const std::vector<std::string>& choices);

  // What readline calls has no argument for us.
  static Library* self;
  static int read_character(FILE*) { return self->keys.next(); }
  static int accept(int, int);
  static int paste(int, int);
  static int complete_word(int, int);
  static int line_up(int count, int key);
  static int line_down(int count, int key);
  static int to_line_begin(int, int);
  static int to_line_end(int, int);
  static int clear_window(int, int);
};

TypedLine::Library* TypedLine::Library::self = nullptr;

namespace {

size_t line_begin(std::string_view text, size_t point) {
  return text.substr(0, point).rfind('\n') + 1;
}
size_t line_end(std::string_view text, size_t point) {
  return std::min(text.find('\n', point), text.size());
}

bool begins_character(char byte) {
  return (byte & 0xC0) != 0x80;
}
size_t characters_in(std::string_view text) {
  return size_t(std::count_if(text.begin(), text.end(), begins_character));
}
// Of so many characters, or of the rest of the line.
size_t bytes_of(std::string_view text, size_t characters) {
  const size_t end = line_end(text, 0);
  size_t at = 0;
  while (at < end && (characters > 0 || !begins_character(text[at]))) characters -= begins_character(text[at++]);
  return at;
}

bool is_bound(std::string_view sequence) {
  int type = 0;
  rl_command_func_t* const function = rl_function_of_keyseq(std::string(sequence).c_str(), rl_get_keymap(), &type);
  return function != nullptr && type != ISKMAP;
}

// readline takes the locale from the environment. A bare container has none there; main() has chosen one all the same.
void tell_locale() {
  const char* const locale = std::setlocale(LC_CTYPE, nullptr);
  if (locale) setenv("LC_ALL", locale, 1);
}

// In every keymap that a person may choose, on top of ~/.inputrc.
void bind(const char* keys, rl_command_func_t* function) {
  for (const Keymap map : {emacs_standard_keymap, vi_insertion_keymap, vi_movement_keymap})
    rl_bind_keyseq_in_map(keys, function, map);
}

}  // namespace

TypedLine::Library::Library(std::vector<std::string> words)
    : commands(std::move(words)), keys(is_bound, [] { self->woken(); }) {
  if (screen_is_addressable()) display.emplace(screen_descriptor());
  self = this;
  tell_locale();
  rl_readline_name = "hearth";
  rl_instream = stdin;
  rl_outstream = screen_descriptor() == STDOUT_FILENO ? stdout : stderr;
  rl_getc_function = read_character;
  rl_input_available_hook = [] { return int(!self->keys.idle()); };
  rl_prep_term_function = nullptr;  // TypingMode does it, and signals too
  rl_deprep_term_function = nullptr;
  rl_completion_entry_function = [](const char*, int) -> char* { return nullptr; };  // ours is complete_word
  rl_tty_set_echoing(1);
  rl_catch_signals = 0;
  rl_catch_sigwinch = 0;
  rl_initialize();
  // What terminals send that readline does not bind by itself; distributions do it in /etc/inputrc.
  const std::pair<const char*, rl_command_func_t*> more_keys[] = {
      {"\033[1~", to_line_begin},      {"\033[7~", to_line_begin},
      {"\033[4~", to_line_end},        {"\033[8~", to_line_end},
      {"\033[3~", rl_delete},          {"\033[1;5C", rl_forward_word},
      {"\033[1;5D", rl_backward_word}, {"\033[5~", rl_beginning_of_history},
      {"\033[6~", rl_end_of_history},
  };
  for (const auto& [key, function] : more_keys) rl_bind_keyseq_if_unbound(key, function);
  for (const char* key : {"\033[A", "\033OA"}) bind(key, line_up);
  for (const char* key : {"\033[B", "\033OB"}) bind(key, line_down);
  for (const char* key : {"\033[H", "\033OH", "\001"}) bind(key, to_line_begin);
  for (const char* key : {"\033[F", "\033OF", "\005"}) bind(key, to_line_end);
  bind(kPasteBegins.data(), paste);
  bind("\t", complete_word);
  if (!display) return;
  rl_redisplay_function = [] { self->redisplay(); };
  bind("\r", accept);
  bind("\n", accept);
  bind("\f", clear_window);
}

// Ctrl-Z and fg, or the window has another size.
void TypedLine::Library::woken() {
  const bool resumed = mode.resumed(), resized = mode.resized();
  if (!resumed && !resized) return;
  if (!display) {
    if (resized) rl_resize_terminal();
    if (resumed) rl_on_new_line();
    rl_redisplay();
    return;
  }
  if (resumed) {
    display->resumed();
  } else if (resized) {
    display->resized();
  }
  display->show(rl_display_prompt, rl_line_buffer, size_t(rl_point));
}

// What is typed ahead or sent by a program comes faster than it need be shown.
void TypedLine::Library::redisplay() {
  if (keys.idle()) display->show(rl_display_prompt, rl_line_buffer, size_t(rl_point));
}

int TypedLine::Library::accept(int, int) {
  self->display->finish(rl_display_prompt, rl_line_buffer);
  rl_done = 1;
  return 0;
}

int TypedLine::Library::clear_window(int, int) {
  self->display->clear_window();
  return 0;
}

// The arrows go through the lines of a message, and beyond them through the history.
int TypedLine::Library::line_up(int count, int key) {
  const std::string_view text = rl_line_buffer;
  const size_t begin = line_begin(text, size_t(rl_point));
  if (begin == 0) return rl_get_previous_history(count, key);
  const size_t before = line_begin(text, begin - 1);
  rl_point = int(before + bytes_of(text.substr(before), characters_in(text.substr(begin, size_t(rl_point) - begin))));
  return 0;
}

int TypedLine::Library::line_down(int count, int key) {
  const std::string_view text = rl_line_buffer;
  const size_t begin = line_begin(text, size_t(rl_point)), end = line_end(text, size_t(rl_point));
  if (end == text.size()) return rl_get_next_history(count, key);
  rl_point = int(end + 1 + bytes_of(text.substr(end + 1), characters_in(text.substr(begin, size_t(rl_point) - begin))));
  return 0;
}

int TypedLine::Library::to_line_begin(int, int) {
  rl_point = int(line_begin(rl_line_buffer, size_t(rl_point)));
  return 0;
}

int TypedLine::Library::to_line_end(int, int) {
  rl_point = int(line_end(rl_line_buffer, size_t(rl_point)));
  return 0;
}

int TypedLine::Library::paste(int, int) {
  const std::string text = self->keys.read_paste();
  rl_insert_text(text.c_str());
  if (!text.empty()) self->pastes.push_back(text);
  return 0;
}

int TypedLine::Library::complete_word(int, int) {
  const Completion completion = complete({rl_line_buffer, size_t(rl_point)}, self->commands);
  if (!completion.insert.empty()) {
    rl_insert_text(completion.insert.c_str());
  } else if (!completion.choices.empty()) {
    self->show_choices(completion.choices);
  } else {
    rl_ding();
  }
  return 0;
}

void TypedLine::Library::show_choices(const std::vector<std::string>& choices) {
  if (display) display->finish(rl_display_prompt, rl_line_buffer);
  note("{}{}\n", display ? "" : "\n", listed(choices));
  if (!display) rl_on_new_line();
}

TypedLine::TypedLine(const std::vector<std::string>& history, std::vector<std::string> commands)
    : library_(std::make_unique<Library>(std::move(commands))) {
  using_history();
  for (const std::string& entry : history) remember(entry);
}

TypedLine::~TypedLine() = default;

void TypedLine::remember(const std::string& entry) {
  add_history(entry.c_str());
}

TypedLine::Result TypedLine::read(const std::string& prompt, std::string_view begun) {
  library_->pastes.clear();
  if (library_->display) library_->display->begin();
  library_->mode.read_begins();
  if (!begun.empty()) library_->keys.paste(begun);
  char* const text = readline(prompt.c_str());
  Result result;
  result.interrupted = interrupted();
  result.end = text == nullptr && !result.interrupted;
  if (text) result.text = text;
  std::free(text);
  if (!text && result.interrupted) note("\n");
  library_->keys.end_line();
  library_->mode.read_ends();
  result.pastes = std::move(library_->pastes);
  return result;
}

}  // namespace hearth::cli
