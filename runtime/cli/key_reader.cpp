#include "runtime/cli/key_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "runtime/cli/terminal.h"
#include "runtime/cli/typing_mode.h"

namespace hearth::cli {
namespace {

constexpr int kForever = -1;
constexpr int kNothing = -2;  // in time
// A key sends its bytes at once; over a slow line they may be apart. Who presses Escape and then a letter is slower.
constexpr int kWithinKey = 100;
// A terminal that does not go on with a paste for so long may have lost its end.
constexpr int kWithinPaste = 400;
constexpr char kEscape = '\033';

// How many bytes a character in UTF-8 has that begins so.
size_t length_of(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
}

}  // namespace

KeyReader::KeyReader(std::function<bool(std::string_view)> has_meaning, std::function<void()> woken)
    : has_meaning_(std::move(has_meaning)), woken_(std::move(woken)) {}

int KeyReader::byte(int timeout_ms) {
  while (unread_.empty()) {
    const Input input = wait_for_input(timeout_ms);
    if (input == Input::interrupted) return kEnd;
    if (input == Input::nothing) return kNothing;
    if (input == Input::woken) {
      woken_();
      continue;
    }
    char buffer[4096];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return kEnd;
    unread_.assign(buffer, buffer + n);
  }
  const char first = unread_.front();
  unread_.pop_front();
  return static_cast<unsigned char>(first);
}

void KeyReader::paste(std::string_view text) {
  std::string keys(kPasteBegins);
  for (const char c : text)
    if ((c < 0 || c >= ' ' || c == '\n' || c == '\t') && c != '\x7F') keys += c;
  put_back(keys.append(kPasteEnds));
}

bool KeyReader::idle() const {
  return ready_.empty() && unread_.empty() && wait_for_input(0) != Input::ready;
}

void KeyReader::end_line() {
  const auto interrupt =
      std::find_if(unread_.begin(), unread_.end(), [](char key) { return signal_of_key(key) == SIGINT; });
  if (interrupt == unread_.end() || in_paste_) return;
  unread_.erase(unread_.begin(), interrupt + 1);
  raise(SIGINT);
}

int KeyReader::next() {
  while (ready_.empty()) {
    if (in_paste_ && paste_goes_on()) {
      ready_.assign(kPasteBegins.begin(), kPasteBegins.end());
      break;
    }
    const int first = byte(kForever);
    if (const int signal = signal_of_key(first); signal != 0) {
      raise(signal);
      continue;
    }
    if (first != kEscape) return first;
    const std::string sequence = kEscape + after_escape();
    if (sequence.size() == 1 || sequence == kPasteBegins || has_meaning_(sequence))
      ready_.assign(sequence.begin(), sequence.end());
  }
  const char first = ready_.front();
  ready_.pop_front();
  return static_cast<unsigned char>(first);
}

// The rest of a key's escape sequence, as ECMA-48 and xterm build them; "" after the Escape key alone.
std::string KeyReader::after_escape() {
  std::string rest;
  const auto add = [&](int timeout_ms) {
    const int next = byte(timeout_ms);
    if (next < 0) return '\0';
    rest += char(next);
    return char(next);
  };
  char kind = add(kWithinKey);
  while (kind == kEscape) kind = add(kWithinKey);  // some terminals send Alt so
  if (kind == '[') {                               // parameters, and a last byte from '@' on
    char next = add(kWithinKey);
    if (next == '[') {
      add(kWithinKey);  // Linux console: F1 to F5
    } else if (next == 'M') {
      for (int i = 0; i < 3; ++i) add(kWithinKey);  // a mouse, of old
    } else {
      while (next >= ' ' && next < '@') next = add(kWithinKey);
      if (next != '\0' && (next < '@' || next > '~')) {  // no such sequence: something else began
        rest.pop_back();
        put_back({&next, 1});
      }
    }
  } else if (kind == 'O') {
    char next = add(kWithinKey);
    while (next >= '0' && next <= '9') next = add(kWithinKey);
  } else if (kind == ']' || kind == 'P' || kind == '^' || kind == '_' || kind == 'X') {
    // A terminal's answer, up to BEL or ESC \. Without such an end it was Alt and a letter.
    const size_t begin = rest.size();
    char next = kind;
    while (next != '\0' && next != '\a' && !rest.ends_with("\033\\")) next = add(kWithinKey);
    if (next == '\0') {
      put_back(std::string_view(rest).substr(begin));
      rest.resize(begin);
    }
  } else if (kind != '\0') {
    for (size_t i = 1; i < length_of(kind); ++i) add(kWithinKey);
  }
  return rest;
}

std::string KeyReader::read_paste() {
  std::string text;
  in_paste_ = true;
  while (in_paste_) {
    const int next = byte(kWithinPaste);
    if (next == kNothing) break;
    if (next == kEnd) in_paste_ = false;
    if (next <= 0) continue;  // NUL would end the line in the editor
    // Windows and old Macs end lines otherwise, and terminals send CR for LF.
    if (next != '\n' || !after_return_) text += next == '\r' ? '\n' : char(next);
    after_return_ = next == '\r';
    if (!text.ends_with(kPasteEnds)) continue;
    text.resize(text.size() - kPasteEnds.size());
    in_paste_ = after_return_ = false;
  }
  return text;
}

// A paste has halted: either it goes on, or its end was lost and what comes now is a key that somebody presses, which
// is one character or one escape sequence by itself.
bool KeyReader::paste_goes_on() {
  std::string piece;
  for (int next = byte(kForever); next >= 0; next = byte(kWithinKey)) {
    piece += char(next);
    if (piece.size() > kPasteEnds.size()) break;
  }
  put_back(piece);
  const bool key = piece.empty() || piece.size() == length_of(piece.front()) ||
                   (piece.front() == kEscape && !piece.starts_with(kPasteEnds));
  in_paste_ = !key;
  return in_paste_;
}

}  // namespace hearth::cli
