#include "runtime/cli/line_editor.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "runtime/cli/terminal.h"
#include "runtime/cli/typed_line.h"

namespace hearth::cli {
namespace {

constexpr const char* kContinued = "... ";
constexpr std::string_view kQuotes = "\"\"\"";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// What is pasted is text: quotes and backslashes in it were not typed to begin or end something.
bool pasted_at_start(const TypedLine::Result& line) {
  return std::any_of(line.pastes.begin(), line.pastes.end(),
                     [&](const std::string& paste) { return line.text.starts_with(paste); });
}
bool pasted_at_end(const TypedLine::Result& line) {
  return std::any_of(line.pastes.begin(), line.pastes.end(),
                     [&](const std::string& paste) { return line.text.ends_with(paste); });
}

}  // namespace

LineEditor::LineEditor(std::string history_path, std::vector<std::string> commands)
    : history_(std::move(history_path)) {
  if (!stdin_is_terminal()) return;
  const std::vector<std::string> entries = history_.load();
  if (!entries.empty()) last_entry_ = entries.back();
  typed_ = std::make_unique<TypedLine>(entries, std::move(commands));
}

LineEditor::~LineEditor() = default;

LineEditor::Got LineEditor::read(const std::string& prompt, std::string& message, const std::string& begun) {
  message.clear();
  if (!typed_) return read_plain(message);
  const Got got = read_typed(prompt, message, begun);
  if (got == Got::end || got == Got::interrupt) {
    message.clear();
    return got;
  }
  if (message.find_first_not_of(" \t\n") != std::string::npos && message != last_entry_) {
    typed_->remember(message);
    history_.append(message);
    last_entry_ = message;
  }
  return got;
}

LineEditor::Got LineEditor::read_typed(const std::string& prompt, std::string& message, const std::string& begun) {
  Got got = Got::line;
  for (bool first = true;; first = false) {
    TypedLine::Result line = typed_->read(first ? prompt : kContinued, first ? begun : "");
    if (line.interrupted) return Got::interrupt;
    if (line.end) {
      if (first) return Got::end;
      note("\n");
      return got;
    }
    const bool pasted = pasted_at_start(line);
    if (first && !pasted && line.text.starts_with(kQuotes)) {
      message = line.text.substr(kQuotes.size());
      if (!message.empty() && !message.ends_with(kQuotes)) message += '\n';
      return read_block(message);
    }
    if (first && pasted && line.text.find('\n') != std::string::npos) got = Got::text;
    message += line.text;
    if (!message.ends_with('\\') || pasted_at_end(line)) break;
    message.back() = '\n';
  }
  if (got == Got::text && message.ends_with('\n')) message.pop_back();  // lines are copied with the end of the last one
  return got;
}

// The rest of a block, whose first line is there: up to a line that ends in quotes.
LineEditor::Got LineEditor::read_block(std::string& message) {
  while (!message.ends_with(kQuotes)) {
    TypedLine::Result line = typed_->read(kContinued);
    if (line.interrupted) return Got::interrupt;
    if (line.end) {
      note("\n");
      break;
    }
    message += line.text;
    if (line.text.ends_with(kQuotes) && !pasted_at_end(line)) break;
    message += '\n';
  }
  if (message.ends_with(kQuotes)) message.resize(message.size() - kQuotes.size());
  if (message.ends_with('\n')) message.pop_back();
  return Got::text;
}

// Without the C library's buffer, whose reader would begin again after a signal.
LineEditor::Got LineEditor::read_plain(std::string& message) {
  size_t end;
  bool ended = false;
  for (size_t searched = 0; (end = unread_.find('\n', searched)) == std::string::npos && !ended;) {
    searched = unread_.size();
    if (wait_for_input() == Input::interrupted) return Got::interrupt;
    char buffer[65536];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    ended = n <= 0;
    if (n > 0) unread_.append(buffer, size_t(n));
  }
  if (end == std::string::npos && unread_.empty()) return Got::end;
  message = unread_.substr(0, end);
  unread_.erase(0, end == std::string::npos ? end : end + 1);
  if (at_start_ && message.starts_with(kByteOrderMark)) message.erase(0, kByteOrderMark.size());
  at_start_ = false;
  if (message.ends_with('\r')) message.pop_back();
  return Got::line;
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
