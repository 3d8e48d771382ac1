// hearth chat MODEL.gguf: a conversation that streams and keeps its cache between turns.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quant/error.h"
#include "runtime/chat_template.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/files.h"
#include "runtime/cli/line_editor.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/reading_line.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"
#include "runtime/generate.h"

namespace hearth::cli {
namespace {

struct ChatArguments {
  SessionOptions session;
  SamplerOptions sampler;
  std::string system;
  int64_t max_tokens = -1;
};

constexpr std::string_view kHelp =
    "/help           this list\n"
    "/system TEXT    start anew under a system message (without TEXT: show it)\n"
    "/clear          start anew\n"
    "/stats          tokens, speed and what is left of the context\n"
    "/exit           leave (so does Ctrl-D)\n"
    "Ctrl-C stops an answer. A line that ends in \\ goes on in the next one.\n";

class Chat {
 public:
  Chat(const ChatArguments& arguments, Session& session)
      : arguments_(arguments),
        session_(session),
        format_(recognise_chat_format(session.chat_template)),
        conversation_(*session.model, *session.tokenizer),
        sampler_(session.sampler(arguments.sampler)),
        system_(arguments.system) {
    require(format_ != ChatFormat::none, ErrorKind::model,
            "{}: holds no chat template, so it is a base model: use `hearth run` to continue a text",
            arguments.session.model_path);
    clear();
  }

  // Reads until the end of input or /exit.
  void run() {
    const bool interactive = stdin_is_terminal();
    if (interactive) note("Type a message; /help lists the commands.\n\n");
    LineEditor editor(default_history_path());
    std::string line;
    for (;;) {
      clear_interrupt();
      const LineEditor::Got got = editor.read("> ", line);
      if (got == LineEditor::Got::end) break;
      if (got == LineEditor::Got::interrupt) {
        require(interactive && ending_signal() == 0, ErrorKind::interrupted, "interrupted");
        note("(/exit or Ctrl-D leaves)\n");
        continue;
      }
      if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
      try {
        if (line.front() == '/') {
          if (!command(line)) break;
        } else {
          answer(line);
        }
      } catch (const Error& error) {
        if (!interactive || !session_.model->works()) throw;  // nobody is left to talk with
        note("{}\n", error.what());
      }
    }
    if (interactive) note("\n");
    if (turns_ > 0) print_stats();
  }

 private:
  void clear() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({ChatMessage::Role::system, system_});
  }

  // False: leave.
  bool command(const std::string& line) {
    const size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    rest.erase(0, rest.find_first_not_of(' '));
    if (name == "/exit" || name == "/quit") return false;
    if (name == "/help") {
      note("{}", kHelp);
    } else if (name == "/clear") {
      clear();
      note("(a new conversation)\n");
    } else if (name == "/stats") {
      print_stats();
    } else if (name == "/system" && rest.empty()) {
      note("{}\n", system_.empty() ? "(no system message)" : system_);
    } else if (name == "/system") {
      require_utf8(rest, "/system");
      system_ = rest;
      clear();
      note("(a new conversation under this system message)\n");
    } else {
      fail(ErrorKind::usage, "unknown command {}: /help lists the commands", name);
    }
    return true;
  }

  // Sends one message and streams what the model says. What did not fit leaves the conversation as it was.
  void answer(const std::string& text) {
    require_utf8(text, "message");
    messages_.push_back({ChatMessage::Role::user, text});
    GenerateResult result;
    std::string said;
    try {
      result = stream(said);
    } catch (...) {
      messages_.pop_back();
      throw;
    }
    messages_.push_back({ChatMessage::Role::assistant, said, {}, result.tokens});
    turns_ += 1;
    prompt_tokens_ += result.prompt_tokens;
    cached_tokens_ += result.cached_tokens;
    generated_tokens_ += int64_t(result.tokens.size());
    prefill_seconds_ += result.prefill_seconds;
    decode_seconds_ += result.decode_seconds;
    if (result.reason == StopReason::interrupted && (!stdin_is_terminal() || ending_signal() != 0)) check_interrupt();
    if (result.reason == StopReason::interrupted) note("(stopped)\n\n");
    if (result.reason == StopReason::context_full)
      note("(the context of {} tokens is full: /clear starts anew, --ctx makes it larger)\n",
           session_.model->options().n_ctx);
  }

  GenerateResult stream(std::string& said) {
    const std::vector<Token> prompt = session_.tokenizer->encode(render_chat(format_, messages_, true));
    GenerateOptions options;
    options.max_tokens = arguments_.max_tokens;
    if (const auto user = session_.tokenizer->find("<｜User｜>")) options.stop_tokens.push_back(*user);

    Utf8Stream utf8;
    bool at_start = true;
    const auto show = [&](std::string piece) {
      if (at_start) piece.erase(0, piece.find_first_not_of(' '));  // "Assistant:" is followed by a space in V2's format
      if (piece.empty()) return;
      at_start = false;
      said += piece;
      write_out(piece);
      flush_out();
    };
    GenerateCallbacks callbacks;
    ReadingLine reading;
    callbacks.stop_now = interrupted;
    callbacks.on_token = [&](Token token) {
      reading.finish();
      show(utf8.push(session_.tokenizer->bytes_of(token, true)));
    };
    callbacks.on_reading = [&](const RunProgress& progress) { reading.show(progress); };
    GenerateResult result;
    try {
      result = conversation_.generate(prompt, sampler_, options, callbacks);
    } catch (const Error&) {
      if (!at_start) write_out("\n");  // half an answer is a line too
      flush_out();
      throw;
    }
    reading.finish();
    show(utf8.finish());
    write_out("\n");
    if (stdin_is_terminal()) write_out("\n");
    flush_out();
    return result;
  }

  void print_stats() const {
    const int64_t ran = prompt_tokens_ - cached_tokens_;
    const auto rate = [](int64_t tokens, double seconds) { return seconds > 0 ? double(tokens) / seconds : 0.0; };
    note(
        "{} answers: read {} tokens at {:.0f} tok/s ({} more were in the cache), wrote {} at {:.1f} tok/s; "
        "context {} of {} tokens\n",
        turns_, ran, rate(ran, prefill_seconds_), cached_tokens_, generated_tokens_,
        rate(generated_tokens_, decode_seconds_), conversation_.history().size(), session_.model->options().n_ctx);
    print_report(session_);
  }

  const ChatArguments& arguments_;
  Session& session_;
  ChatFormat format_;
  Conversation conversation_;
  Sampler sampler_;
  std::string system_;
  std::vector<ChatMessage> messages_;
  int64_t turns_ = 0, prompt_tokens_ = 0, cached_tokens_ = 0, generated_tokens_ = 0;
  double prefill_seconds_ = 0, decode_seconds_ = 0;
};

void chat(const ChatArguments& arguments) {
  require_utf8(arguments.system, "--system");
  Session session = open_session(arguments.session);
  print_banner(session);
  Chat(arguments, session).run();
}

}  // namespace

void add_chat(CLI::App& app) {
  auto arguments = std::make_shared<ChatArguments>();
  CLI::App* command = app.add_subcommand("chat", "talk with a model; input may also be piped, one message a line");
  add_session_options(*command, arguments->session);
  add_sampler_options(*command, arguments->sampler);
  command->add_option("--system", arguments->system, "system message");
  command
      ->add_option("-n,--max-tokens", arguments->max_tokens,
                   "longest answer in tokens, as 512 or 4k; -1: no limit (default)")
      ->transform(answer_length());
  command->callback([arguments] { chat(*arguments); });
}

}  // namespace hearth::cli
