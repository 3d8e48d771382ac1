// With libedit, where GNU readline is not installed. What is read goes through our KeyReader; what is shown is
// libedit's.
#include <histedit.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cwchar>
#include <utility>

#include "runtime/cli/completion.h"
#include "runtime/cli/history_file.h"
#include "runtime/cli/key_reader.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/typed_line.h"
#include "runtime/cli/typing_mode.h"

namespace hearth::cli {
namespace {

struct Binding {
  const char *key, *function;
};
// The keys that send escape sequences, as xterm and its many relatives do.
constexpr Binding kBindings[] = {
    {"\033[A", "ed-prev-history"}, {"\033OA", "ed-prev-history"},    {"\033[B", "ed-next-history"},
    {"\033OB", "ed-next-history"}, {"\033[C", "ed-next-char"},       {"\033OC", "ed-next-char"},
    {"\033[D", "ed-prev-char"},    {"\033OD", "ed-prev-char"},       {"\033[H", "ed-move-to-beg"},
    {"\033OH", "ed-move-to-beg"},  {"\033[1~", "ed-move-to-beg"},    {"\033[F", "ed-move-to-end"},
    {"\033OF", "ed-move-to-end"},  {"\033[4~", "ed-move-to-end"},    {"\033[3~", "ed-delete-next-char"},
    {"\033[1;5C", "em-next-word"}, {"\033[1;5D", "ed-prev-word"},    {"\033b", "ed-prev-word"},
    {"\033f", "em-next-word"},     {"\033d", "em-delete-next-word"}, {"\033\177", "ed-delete-prev-word"},
    {"\020", "ed-prev-history"},   {"\016", "ed-next-history"},      {"\022", "em-inc-search-prev"},
};

bool is_bound(std::string_view sequence) {
  return std::any_of(std::begin(kBindings), std::end(kBindings),
                     [&](const Binding& binding) { return sequence == binding.key; });
}

// A terminal that nobody sits at. libedit changes the modes of its input before and after every line, so that for a
// moment keys are echoed and Ctrl-C is no key; it changes this one's, and the person's stays as TypingMode has set it.
class StandIn {
 public:
  StandIn() {
    termios settings;
    if (tcgetattr(STDIN_FILENO, &settings) != 0 || openpty(&master_, &terminal_, nullptr, &settings, nullptr) != 0)
      return;
    input_ = fdopen(terminal_, "r");
    take_size();
  }
  ~StandIn() {
    if (input_) std::fclose(input_);
    if (master_ >= 0) close(master_);
  }
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  // Where the system has no terminals to give, the person's.
  FILE* input() const { return input_ ? input_ : stdin; }
  void take_size() {
    winsize size;
    if (input_ && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) ioctl(terminal_, TIOCSWINSZ, &size);
  }

 private:
  int master_ = -1, terminal_ = -1;
  FILE* input_ = nullptr;
};

}  // namespace

struct TypedLine::Library {
  std::vector<std::string> commands;
  std::vector<std::string> pastes;  // into the line that is being read
  std::string prompt;
  StandIn stand_in;  // before the mode: it looks like the terminal as it was found
  TypingMode mode;
  KeyReader keys{is_bound, [this] { woken(); }};
  EditLine* edit = nullptr;
  ::History* history = nullptr;

  explicit Library(std::vector<std::string> words);
  ~Library();
  void woken();

  static Library& of(EditLine* edit) {
    Library* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return *self;
  }
  static char* prompt_of(EditLine* edit) { return of(edit).prompt.data(); }
  static int read_character(EditLine* edit, wchar_t* character);
  static unsigned char paste(EditLine* edit, int);
  static unsigned char complete_word(EditLine* edit, int);
};

TypedLine::Library::Library(std::vector<std::string> words) : commands(std::move(words)) {
  FILE* const screen = screen_descriptor() == 1 ? stdout : stderr;
  edit = el_init("hearth", stand_in.input(), screen, screen);
  history = history_init();
  HistEvent event;
  ::history(history, &event, H_SETSIZE, int(HistoryFile::kEntries));
  el_set(edit, EL_CLIENTDATA, this);
  el_set(edit, EL_GETCFN, &read_character);
  el_set(edit, EL_PROMPT, &prompt_of);
  el_set(edit, EL_HIST, ::history, history);
  el_set(edit, EL_SIGNAL, 0);
  el_set(edit, EL_EDITOR, "emacs");
  for (const Binding& binding : kBindings) el_set(edit, EL_BIND, binding.key, binding.function, nullptr);
  el_source(edit, nullptr);  // the user's ~/.editrc
  el_set(edit, EL_ADDFN, "hearth-paste", "inserts a paste", &paste);
  el_set(edit, EL_BIND, kPasteBegins.data(), "hearth-paste", nullptr);
  el_set(edit, EL_ADDFN, "hearth-complete", "completes a word", &complete_word);
  el_set(edit, EL_BIND, "^I", "hearth-complete", nullptr);
}

TypedLine::Library::~Library() {
  history_end(history);
  el_end(edit);
}

void TypedLine::Library::woken() {
  const bool resumed = mode.resumed(), resized = mode.resized();
  if (!resumed && !resized) return;
  if (resized) {
    stand_in.take_size();
    el_resize(edit);
  }
  if (resumed) note("\n");
  el_set(edit, EL_REFRESH);
}

// One character; 0 at the end of the input, -1 when interrupted.
int TypedLine::Library::read_character(EditLine* edit, wchar_t* character) {
  Library& self = of(edit);
  std::mbstate_t state{};
  for (;;) {
    const int key = self.keys.next();
    if (key == KeyReader::kEnd) return interrupted() ? -1 : 0;
    const char byte = char(key);
    const size_t length = std::mbrtowc(character, &byte, 1, &state);
    if (length == size_t(-2)) continue;  // the character goes on
    if (length == size_t(-1)) *character = L'\uFFFD';
    return 1;
  }
}

unsigned char TypedLine::Library::paste(EditLine* edit, int) {
  Library& self = of(edit);
  const std::string text = self.keys.read_paste();
  if (text.empty()) return CC_NORM;
  self.pastes.push_back(text);
  return el_insertstr(edit, text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

unsigned char TypedLine::Library::complete_word(EditLine* edit, int) {
  const LineInfo* const line = el_line(edit);
  const Completion completion = complete({line->buffer, size_t(line->cursor - line->buffer)}, of(edit).commands);
  if (!completion.insert.empty()) return el_insertstr(edit, completion.insert.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  if (completion.choices.empty()) return CC_ERROR;  // a bell
  note("\n{}\n", listed(completion.choices));
  return CC_REDISPLAY;
}

TypedLine::TypedLine(const std::vector<std::string>& history, std::vector<std::string> commands)
    : library_(std::make_unique<Library>(std::move(commands))) {
  for (const std::string& entry : history) remember(entry);
}

TypedLine::~TypedLine() = default;

void TypedLine::remember(const std::string& entry) {
  HistEvent event;
  ::history(library_->history, &event, H_ENTER, entry.c_str());
}

TypedLine::Result TypedLine::read(const std::string& prompt, std::string_view begun) {
  library_->prompt = prompt;
  library_->pastes.clear();
  library_->mode.read_begins();
  if (!begun.empty()) library_->keys.paste(begun);
  int count = 0;
  const char* const text = el_gets(library_->edit, &count);
  Result result;
  result.interrupted = interrupted();
  result.end = (!text || count <= 0) && !result.interrupted;
  if (text && count > 0) result.text.assign(text, size_t(count));
  if (result.text.ends_with('\n') || result.text.ends_with('\r')) result.text.pop_back();
  if (result.interrupted) {
    el_reset(library_->edit);
    note("\n");
  }
  library_->keys.end_line();
  library_->mode.read_ends();
  result.pastes = std::move(library_->pastes);
  return result;
}

}  // namespace hearth::cli
