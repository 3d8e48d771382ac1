// The terminal while somebody may type: key by key and without echo, so that what is typed during an answer neither
// garbles it nor is lost, and pastes are marked as such. However the program ends or is stopped, the terminal is put
// back as it was found; only SIGKILL leaves it.
#pragma once

namespace hearth::cli {

// As long as one lives (no more than one does) the terminal on standard input is in that mode: also after Ctrl-Z and
// fg, and after a change of its size, both of which wake wait_for_input.
class TypingMode {
 public:
  TypingMode();
  ~TypingMode();
  TypingMode(const TypingMode&) = delete;
  TypingMode& operator=(const TypingMode&) = delete;

  // While a line is read, Ctrl-C and its like are characters (see signal_of_key); at other times they are signals.
  void read_begins();
  void read_ends();

  // Whether it happened since the last call.
  bool resumed();
  bool resized();
};

// Puts the terminal back as it was found. May be called from a signal handler; the program must end after it.
void restore_terminal();

// The signal that this key (a byte, or less than 0: none) stands for in the terminal's settings: SIGINT, SIGTSTP,
// SIGQUIT; 0: none.
int signal_of_key(int key);

// Where a person sees what is typed: standard error if it is a terminal, else standard output if that is one.
int screen_descriptor();
// "dumb" terminals, and those without a name, do not know where their cursor is.
bool screen_is_addressable();

}  // namespace hearth::cli
