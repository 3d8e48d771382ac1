// hearth chat MODEL.gguf: a conversation that streams and keeps its cache between turns.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quant/error.h"
#include "runtime/cli/answer_printer.h"
#include "runtime/cli/chat_options.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/files.h"
#include "runtime/cli/line_editor.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"
#include "runtime/engine/answer_form.h"
#include "runtime/engine/conversation.h"

namespace hearth::cli {
namespace {

struct ChatArguments {
  SessionOptions session;
  SamplingChoices sampler;
  ChatChoices choices;
  std::vector<std::string> stops;
  int64_t max_tokens = -1;
  bool no_history = false;
};

constexpr std::string_view kHelp =
    "/help           this list\n"
    "/system TEXT    start anew under a system message (without TEXT: show it)\n"
    "/json SCHEMA    answers are JSON that satisfies this JSON Schema, or that in a file (without SCHEMA: any text "
    "again)\n"
    "/clear          start anew\n"
    "/drop           forget the oldest turns until half of the context is free\n"
    "/stats          tokens, speed, what is left of the context, the seed\n"
    "/exit           leave (so does Ctrl-D)\n"
    "//TEXT          a message that begins with /TEXT\n"
    "\"\"\"             begins and ends a message of several lines; so does pasting one\n"
    "\\               at the end of a line: the message goes on in the next one\n"
    "Ctrl-C stops an answer.\n";

std::string_view first_word(std::string_view line) {
  return line.substr(0, line.find_first_of(" \t\n"));
}

class Chat {
 public:
  Chat(const ChatArguments& arguments, LoadedModel& session)
      : arguments_(arguments),
        session_(session),
        format_(chat_template_of(session, arguments.choices)),
        sampling_(chosen_sampling(arguments.sampler, session.model->file().metadata(), &format_)),
        sampler_(session.sampler(sampling_)),
        conversation_(*session.model, *session.tokenizer),
        forms_(*session.tokenizer, session.model->config().vocab_size, format_.stop_tokens()),
        system_(arguments.choices.system) {
    clear();
  }

  // Reads until the end of input or /exit. On a terminal an error is told and the conversation goes on. In a pipe the
  // other messages are answered too, and the first error's kind is how the program ends.
  void run() {
    const bool interactive = stdin_is_terminal();
    if (arguments_.session.verbose) print_sampling(session_, sampling_, &format_);
    LineEditor editor(arguments_.no_history ? "" : default_history_path(),
                      {"/help", "/system ", "/json ", "/clear", "/drop", "/stats", "/exit"});
    std::optional<ErrorKind> failed;
    std::string line;
    for (int64_t number = 1;; ++number) {
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
        if (got == LineEditor::Got::text)
          answer(line);
        else if (!obey(line))
          break;
      } catch (const Error& error) {
        if (!session_.model->works() || error.kind == ErrorKind::interrupted) throw;  // nobody is left to talk with
        note("{}{}\n", interactive ? "" : fmt::format("hearth: line {}: ", number), error.what());
        if (!failed) failed = error.kind;
      }
    }
    if (interactive) note("\n");
    if (turns_ > 0 && arguments_.session.verbose) print_stats();
    if (failed && !interactive) throw Error(*failed, "");  // each was told when it came
  }

 private:
  void clear() {
    messages_.clear();
    unanswered_.clear();
    if (!system_.empty()) messages_.push_back({ChatMessage::Role::system, system_});
  }

  // One line: a command where its first word is one, else a message. False: leave.
  bool obey(const std::string& line) {
    const std::string_view name = first_word(line);
    std::string rest = line.substr(name.size());
    rest.erase(0, std::min(rest.size(), rest.find_first_not_of(" \t\n")));
    if (name == "/exit" || name == "/quit") return false;
    if (name == "/help") {
      help();
    } else if (name == "/clear") {
      clear();
      note("(a new conversation)\n");
    } else if (name == "/drop") {
      drop();
    } else if (name == "/stats") {
      print_stats();
    } else if (name == "/system") {
      set_system(rest);
    } else if (name == "/json") {
      set_form(rest);
    } else {
      answer(line.starts_with("//") ? line.substr(1) : line);
    }
    return true;
  }

  void help() const {
    note("{}", kHelp);
    if (const std::string path = default_history_path(); !arguments_.no_history && !path.empty())
      note("What you type is kept in {}; --no-history keeps nothing.\n", path);
  }

  void set_system(const std::string& text) {
    if (text.empty()) {
      note("{}\n", system_.empty() ? "(no system message)" : system_);
      return;
    }
    require_utf8(text, "/system");
    system_ = text;
    clear();
    note("(a new conversation under this system message)\n");
  }

  // The schema itself, or a file that holds it.
  void set_form(const std::string& schema) {
    if (schema.empty()) {
      form_.reset();
      note("(answers are any text)\n");
      return;
    }
    const AnswerForm form = {AnswerForm::Kind::schema, schema[0] == '{' ? schema : read_text(schema)};
    forms_.bind(form);  // or it is refused now
    form_ = form;
    note("(answers satisfy this schema; /json alone ends that)\n");
  }

  // Forgets whole turns, the oldest first, and asks again what found no room.
  void drop() {
    const size_t first = system_.empty() ? 0 : 1;
    int64_t dropped = 0;
    while (messages_.size() > first && needed() > session_.model->options().n_ctx / 2) {
      const auto begin = messages_.begin() + std::ptrdiff_t(first);
      const auto next = std::find_if(begin + 1, messages_.end(),
                                     [](const ChatMessage& m) { return m.role == ChatMessage::Role::user; });
      messages_.erase(begin, next);
      ++dropped;
    }
    note("({} turn{} forgotten)\n", dropped, dropped == 1 ? "" : "s");
    if (!unanswered_.empty()) answer(std::exchange(unanswered_, ""));
  }

  // Tokens of the conversation, with the message that waits for room.
  int64_t needed() const {
    std::vector<ChatMessage> messages = messages_;
    if (!unanswered_.empty()) messages.push_back({ChatMessage::Role::user, unanswered_});
    return int64_t(encode(messages).tokens.size());
  }

  struct Prompt {
    std::vector<Token> tokens;
    bool opens_thoughts;
  };
  Prompt encode(const std::vector<ChatMessage>& messages) const {
    const ChatPrompt rendered = format_.render(messages, {.think = arguments_.choices.thinking()});
    return {session_.tokenizer->encode(rendered.parts), rendered.opens_thoughts};
  }

  // Sends one message and streams what the model says. A message that found no room, or was stopped before a word of
  // the answer, leaves the conversation as it was.
  void answer(const std::string& text) {
    require_utf8(text, "message");
    unanswered_.clear();
    messages_.push_back({ChatMessage::Role::user, text});
    ChatMessage said{ChatMessage::Role::assistant};
    GenerateResult result;
    try {
      const Prompt prompt = encode(messages_);
      require_room(prompt, text);
      result = stream(prompt, said);
    } catch (...) {
      messages_.pop_back();
      throw;
    }
    const bool stopped = result.reason == StopReason::interrupted;
    const bool goes_on = stdin_is_terminal() && ending_signal() == 0;
    if (result.stopped_unanswered()) {
      messages_.pop_back();
      require(goes_on, ErrorKind::interrupted, "interrupted");
      note("(stopped before an answer: the message is forgotten)\n\n");
      return;
    }
    messages_.push_back(std::move(said));
    count(result);
    require(!stopped || goes_on, ErrorKind::interrupted, "interrupted");
    if (stopped) note("(stopped)\n\n");
    if (result.reason == StopReason::context_full) note("(cut short: {})\n", full_context());
    if (result.reason == StopReason::max_tokens)
      note("(cut short after {} tokens, as --max-tokens says)\n", result.tokens.size());
  }

  std::string full_context() const {
    return fmt::format(
        "the context of {} tokens is full: /drop forgets the oldest turns, /clear starts anew, --ctx makes it larger",
        session_.model->options().n_ctx);
  }

  void require_room(const Prompt& prompt, const std::string& text) {
    const int64_t n_ctx = session_.model->options().n_ctx, n = int64_t(prompt.tokens.size());
    if (n <= n_ctx) return;
    std::vector<ChatMessage> alone;
    if (!system_.empty()) alone.push_back({ChatMessage::Role::system, system_});
    alone.push_back({ChatMessage::Role::user, text});
    const int64_t n_alone = int64_t(encode(alone).tokens.size());
    require(n_alone <= n_ctx, ErrorKind::resource,
            "the message of {} tokens does not fit the context of {}: --ctx makes it larger", n_alone, n_ctx);
    unanswered_ = text;
    fail(ErrorKind::resource, "{} tokens do not fit: {}", n, full_context());
  }

  GenerateResult stream(const Prompt& prompt, ChatMessage& said) {
    GenerateOptions options;
    options.max_tokens = arguments_.max_tokens;
    options.stop_tokens = format_.stop_tokens();
    if (form_)
      options.constraint = forms_.bind(*form_, {.opened = prompt.opens_thoughts, .possible = format_.thinks()});
    AnswerPrinter printer(arguments_.choices.show());
    Answer answer = Answer::in_chat(*session_.tokenizer, prompt.opens_thoughts, format_.answer_lead(), arguments_.stops,
                                    printer.sink());
    GenerateResult result = generate_at_terminal(conversation_, prompt.tokens, sampler_, options, answer);
    if (result.stopped_unanswered()) return result;
    answer.finish();
    if (stdin_is_terminal()) write_out("\n");
    flush_out();
    tell_refusal(session_, arguments_.session);
    said.content = answer.text();
    said.thoughts = answer.thoughts();
    // Tokens of a stop string, or half of one, were not said: what stands before it is encoded anew.
    if (!answer.stopped()) said.tokens = result.tokens;
    return result;
  }

  void count(const GenerateResult& result) {
    turns_ += 1;
    prompt_tokens_ += result.prompt_tokens;
    cached_tokens_ += result.cached_tokens;
    generated_tokens_ += int64_t(result.tokens.size());
    prefill_seconds_ += result.prefill_seconds;
    decode_seconds_ += result.decode_seconds;
  }

  void print_stats() const {
    const int64_t ran = prompt_tokens_ - cached_tokens_;
    const auto rate = [](int64_t tokens, double seconds) { return seconds > 0 ? double(tokens) / seconds : 0.0; };
    note(
        "{} answers: read {} tokens at {:.0f} tok/s ({} more were in the cache), wrote {} at {:.1f} tok/s; "
        "context {} of {} tokens; seed {}\n",
        turns_, ran, rate(ran, prefill_seconds_), cached_tokens_, generated_tokens_,
        rate(generated_tokens_, decode_seconds_), conversation_.history().size(), session_.model->options().n_ctx,
        sampling_.seed);
    print_report(session_);
  }

  const ChatArguments& arguments_;
  LoadedModel& session_;
  const ChatTemplate format_;
  const SamplerOptions sampling_;
  Sampler sampler_;
  Conversation conversation_;
  const AnswerForms forms_;
  std::optional<AnswerForm> form_;   // of the answers; none: any text
  std::string system_, unanswered_;  // the message that found no room
  std::vector<ChatMessage> messages_;
  int64_t turns_ = 0, prompt_tokens_ = 0, cached_tokens_ = 0, generated_tokens_ = 0;
  double prefill_seconds_ = 0, decode_seconds_ = 0;
};

void chat(const ChatArguments& arguments) {
  require_stops(arguments.stops);
  LoadedModel session = open_session(arguments.session);
  Chat chat(arguments, session);
  if (arguments.session.verbose) print_banner(session);
  if (stdin_is_terminal()) {
    print_summary(session);
    note("Ctrl-D leaves, /help lists the commands.\n\n");
  }
  chat.run();
}

}  // namespace

void add_chat(CLI::App& app) {
  auto arguments = std::make_shared<ChatArguments>();
  CLI::App* command = app.add_subcommand("chat", "talk with a model; input may also be piped, one message a line");
  add_model_option(*command, arguments->session);
  add_chat_options(*command, arguments->choices);
  command
      ->add_option("-n,--max-tokens", arguments->max_tokens,
                   "longest answer in tokens, as 512 or 4k; -1: no limit (default)")
      ->transform(answer_length())
      ->group("Conversation");
  add_stop_option(*command, arguments->stops)->group("Conversation");
  command->add_flag("--no-history", arguments->no_history, "keep nothing of what is typed")->group("Conversation");
  add_sampler_options(*command, arguments->sampler);
  add_session_options(*command, arguments->session);
  command->footer(
      "  hearth chat lite.gguf\n"
      "  hearth chat lite.gguf --system \"Answer in French.\" --temp 0\n"
      "  hearth chat lite.gguf < questions.txt            one answer for each line");
  command->callback([arguments] { chat(*arguments); });
}

}  // namespace hearth::cli
