// What goes into files and comes from them, and to the clipboard.
#include "quant/error.h"
#include "runtime/cli/chat/chat_commands.h"
#include "runtime/cli/chat/clipboard.h"
#include "runtime/cli/chat/saved_chat.h"
#include "runtime/cli/chat/words.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {

void ChatCommands::save(const std::string& typed) {
  const std::string path = typed.empty() ? saved_at_ : typed_path(typed);
  require(!path.empty(), ErrorKind::usage, "/save: expected a path, found nothing");
  const ChatState state = session_.state();
  write_chat(path, saved_chat(state, model_.model->config().name));
  saved_at_ = path;
  note("(saved: {} messages in {})\n", state.entries.size(), path);
}

void ChatCommands::load(const std::string& typed) {
  const std::string path = typed_path(typed);
  require(!path.empty(), ErrorKind::usage, "/load: expected a path, found nothing");
  ChatState state = read_chat(path);
  const size_t n = state.entries.size();
  try {
    session_.restore(std::move(state));
  } catch (const Error& error) {
    fail(error.kind, "{}: {}", path, error.what());
  }
  saved_at_ = path;
  transcript_.remark(fmt::format("/load {}", path));
  note("(loaded: {} messages; {}{}{})\n", n, context_text(),
       session_.used_tokens() > session_.n_ctx() ? "; /drop makes room" : "",
       session_.waits() ? "; /retry answers the last one" : "");
}

void ChatCommands::file(const std::string& typed) {
  const std::string path = typed_path(typed);
  if (typed == "off") session_.detach();
  if (path.empty() || typed == "off") {
    for (const AttachedFile& file : session_.attached()) note("{}: {} tokens\n", file.name, grouped(file.n_tokens));
    if (session_.attached().empty()) note("(no file is attached)\n");
    return;
  }
  const AttachedFile& file = session_.attach(path, read_attachment(path, session_.n_ctx()));
  int64_t used = session_.used_tokens();
  for (const AttachedFile& attached : session_.attached()) used += attached.n_tokens;
  note("({}: {} tokens, in front of the next message; {} of {} are left)\n", file.name, grouped(file.n_tokens),
       grouped(session_.n_ctx() - used), grouped(session_.n_ctx()));
}

void ChatCommands::copy(const std::string& what) {
  require(what.empty() || what == "code", ErrorKind::usage, "/copy: expected nothing or code, found \"{}\"",
          what.substr(0, 60));
  const ChatMessage* const answer = session_.last_answer();
  require(answer != nullptr, ErrorKind::usage, "/copy: there is no answer yet");
  const std::string text = what.empty() ? answer->content : last_code_block(answer->content);
  require(!text.empty(), ErrorKind::usage, "/copy: the last answer has no {}", what.empty() ? "text" : "block of code");
  const std::string by = copy_to_clipboard(text);
  note("(copied {} bytes with {})\n", grouped(int64_t(text.size())), by);
}

}  // namespace hearth::cli
