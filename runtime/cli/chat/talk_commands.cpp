// Messages and answers: asking, asking again, taking back, forgetting.
#include <optional>

#include "quant/error.h"
#include "runtime/cli/answer_printer.h"
#include "runtime/cli/chat/chat_commands.h"
#include "runtime/cli/chat/words.h"
#include "runtime/cli/reading_line.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

// The beginning of a message, for a line that speaks of it.
std::string shortened(const std::string& text) {
  constexpr size_t kMost = 60;
  const std::string line = text.substr(0, text.find('\n'));
  size_t end = std::min(line.size(), kMost);
  while (end < line.size() && (line[end] & 0xC0) == 0x80) --end;  // no half characters
  return line.substr(0, end) + (end < text.size() ? " ..." : "");
}

}  // namespace

// Shows what `ask` has the session answer, and writes both down.
template <class Ask>
void ChatCommands::converse(const std::string& question, Ask ask) {
  AnswerPrinter printer(session_.settings().hide_thoughts ? ShowThoughts::hidden : ShowThoughts::apart);
  const AnswerSink screen = printer.sink();
  ReadingLine reading;
  ChatSession::Listener listener;
  listener.callbacks = terminal_callbacks(reading);
  bool written = false;
  listener.sink.piece = [&](const SplitText& piece) {
    if (!written) transcript_.question(question);
    written = true;
    transcript_.piece(piece);
    screen.piece(piece);
  };
  listener.sink.end = screen.end;
  ChatSession::Reply reply;
  try {
    reply = ask(std::move(listener));
  } catch (...) {
    transcript_.end_answer();
    throw;
  }
  if (!written && !reply.unanswered) transcript_.question(question);  // to which nothing was said
  if (!reply.unanswered) transcript_.end_answer(reply.reason == StopReason::interrupted ? "stopped" : "");
  after_answer(reply);
  transcript_.require_written();
}

void ChatCommands::answer(const std::string& text) {
  const std::string files = in_front_of_question(session_.attached());
  converse(files + text, [&](ChatSession::Listener listener) { return session_.ask(text, std::move(listener)); });
}

// What cut an answer short, and what is left of the context.
void ChatCommands::after_answer(const ChatSession::Reply& reply) {
  const bool goes_on = stdin_is_terminal() && ending_signal() == 0;
  const bool stopped = reply.reason == StopReason::interrupted;
  if (reply.unanswered) {
    require(goes_on, ErrorKind::interrupted, "interrupted");
    note("(stopped before an answer: {})\n\n",
         session_.waits() ? "the message is forgotten; /retry asks it again" : "the earlier one stays");
    return;
  }
  flush_out();
  tell_refusal(model_, arguments_.session);
  require(!stopped || goes_on, ErrorKind::interrupted, "interrupted");
  if (stopped) note("(stopped)\n");
  if (reply.reason == StopReason::context_full)
    note("(cut short: the context of {} tokens is full: /undo, /drop or /clear make room, --ctx makes it larger)\n",
         session_.n_ctx());
  if (reply.reason == StopReason::max_tokens) note("(cut short after {} tokens, as max_tokens says)\n", reply.n_tokens);
  if (reply.repeated && session_.sampling().temperature == 0)
    note("(the same answer: the temperature is 0, /set temperature 0.7 lets it differ)\n");
  tell_context();
  if (stdin_is_terminal()) write_out("\n");
  flush_out();
}

std::string ChatCommands::context_text() const {
  return fmt::format("{} of {} tokens used", grouped(session_.used_tokens()), grouped(session_.n_ctx()));
}

void ChatCommands::tell_context() {
  const int64_t used = session_.used_tokens(), left = session_.n_ctx() - used;
  const bool nearly_full = left < session_.n_ctx() / 8;
  if (nearly_full && !warned_)
    note("(the context is nearly full: {} of {} tokens are left; /drop forgets the oldest turns, /clear starts anew)\n",
         grouped(std::max<int64_t>(left, 0)), grouped(session_.n_ctx()));
  warned_ = nearly_full;
  if (arguments_.quiet || !stdin_is_terminal() || !stderr_is_terminal()) return;
  const bool dim = stdout_has_colours();
  note("{}[{} of {} tokens used]{}\n", dim ? "\033[2m" : "", grouped(used), grouped(session_.n_ctx()),
       dim ? "\033[0m" : "");
}

void ChatCommands::retry(const std::string&) {
  const std::string question = session_.last_question().value_or("");
  transcript_.remark("/retry");
  converse(question, [&](ChatSession::Listener listener) { return session_.again({}, std::move(listener)); });
}

void ChatCommands::edit(const std::string& text) {
  std::string changed = text;
  if (text.empty()) {
    const std::optional<std::string> last = session_.last_question();
    require(last.has_value(), ErrorKind::usage, "nothing was asked yet");
    require(stdin_is_terminal(), ErrorKind::usage,
            "/edit: expected the new text, found nothing (a terminal edits the last one)");
    const LineEditor::Got got = editor_.read("> ", changed, *last);
    if (got == LineEditor::Got::end || changed.find_first_not_of(" \t\n") == std::string::npos) {
      note("(the message stays as it was)\n");
      return;
    }
  }
  transcript_.remark("/edit");
  converse(changed, [&](ChatSession::Listener listener) { return session_.again(changed, std::move(listener)); });
}

void ChatCommands::undo(const std::string&) {
  const std::string question = session_.undo();
  transcript_.remark("/undo");
  note("(taken back: {}; {}{})\n", shortened(question), context_text(),
       session_.waits() ? "; /retry asks the message that waits" : "");
}

void ChatCommands::drop(const std::string&) {
  const int64_t dropped = session_.drop();
  transcript_.remark(fmt::format("/drop: {} forgotten", dropped));
  note("({} turn{} forgotten)\n", dropped, dropped == 1 ? "" : "s");
  if (session_.waits_for_room()) retry("");
}

void ChatCommands::clear(const std::string&) {
  session_.clear();
  saved_at_.clear();
  transcript_.remark("/clear");
  note("(a new conversation)\n");
}

}  // namespace hearth::cli
