// hearth run MODEL.gguf -p TEXT: one answer to standard output; works in pipes.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quant/error.h"
#include "runtime/cli/answer_printer.h"
#include "runtime/cli/chat_options.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/expert_recorder.h"
#include "runtime/cli/files.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/prompt.h"
#include "runtime/cli/reading_line.h"
#include "runtime/cli/sampler_options.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"
#include "runtime/engine/answer_form.h"
#include "runtime/engine/conversation.h"
#include "runtime/engine/plain_prompt.h"

namespace hearth::cli {
namespace {

struct RunArguments {
  SessionOptions session;
  SamplingChoices sampler;
  ChatChoices choices;
  std::string question, prompt, suffix, record_experts;
  std::string schema, grammar;  // files
  std::vector<std::string> stops;
  PromptSources sources;
  bool chat = false, special = false, json = false;
  int64_t max_tokens = -1;

  bool has_suffix() const { return !suffix.empty(); }
};

// A question is for a conversation; -p begins a text, unless --chat says otherwise.
bool is_chat(const RunArguments& arguments) {
  return arguments.chat || !arguments.question.empty();
}

// What is on its way to the model.
struct Prompt {
  std::vector<Token> tokens;
  std::vector<Token> stops;  // besides eos
  bool opens_thoughts = false;
};

// Control tokens are read as such only where that was asked for, and text that looks like them is pointed out.
void point_out_control_tokens(const Tokenizer& tokenizer, const std::string& text) {
  const auto plain = tokenizer.encode(text, false), special = tokenizer.encode(text, true);
  if (plain == special) return;
  for (const Token token : special) {
    if (std::ranges::find(plain, token) != plain.end()) continue;
    note("hearth: {} in the prompt is read as plain text; --special reads control tokens\n",
         tokenizer.bytes_of(token, true));
    return;
  }
}

Prompt continuation(const RunArguments& arguments, const LoadedModel& session, const std::string& text) {
  if (!arguments.special) {
    point_out_control_tokens(*session.tokenizer, text);
    point_out_control_tokens(*session.tokenizer, arguments.suffix);
  }
  const Tokenizer& tokenizer = *session.tokenizer;
  if (!arguments.has_suffix()) return {text_to_continue(tokenizer, text, arguments.special)};
  const auto tokens = text_to_fill(tokenizer, text, arguments.suffix, arguments.special);
  require(tokens.has_value(), ErrorKind::model, "--suffix: {} has not all of {}: it was not made to fill in the middle",
          session.model->file().path(), kFillMarks);
  return {*tokens};
}

Prompt message(const RunArguments& arguments, const LoadedModel& session, const ChatTemplate& format,
               const std::string& text) {
  point_out_control_tokens(*session.tokenizer, text);
  std::vector<ChatMessage> messages;
  if (!arguments.choices.system.empty()) messages.push_back({ChatMessage::Role::system, arguments.choices.system});
  messages.push_back({ChatMessage::Role::user, text});
  const ChatPrompt rendered = format.render(messages, {.think = arguments.choices.thinking()});
  return {session.tokenizer->encode(rendered.parts), format.stop_tokens(), rendered.opens_thoughts};
}

// What keeps the answer to --schema or --grammar; null: nothing does.
std::shared_ptr<Constraint> form_of(const RunArguments& arguments, const LoadedModel& session,
                                    const ChatTemplate* format, const Prompt& prompt) {
  const bool schema = !arguments.schema.empty();
  if (!schema && arguments.grammar.empty()) return nullptr;
  const std::string& path = schema ? arguments.schema : arguments.grammar;
  const AnswerForms forms(*session.tokenizer, session.model->config().vocab_size, prompt.stops);
  const ThoughtsInFront thoughts = {.opened = prompt.opens_thoughts, .possible = format && format->thinks()};
  try {
    return forms.bind({schema ? AnswerForm::Kind::schema : AnswerForm::Kind::gbnf, read_text(path)}, thoughts);
  } catch (const Error& refusal) {
    if (refusal.kind != ErrorKind::usage) throw;
    fail(ErrorKind::usage, "{}: {}", path, refusal.what());
  }
}

void print_json(const GenerateResult& result, const Answer& answer, bool chat, uint64_t seed) {
  nlohmann::ordered_json object = {{"text", answer.text()}};
  if (chat) object["thoughts"] = answer.thoughts();
  object.update(nlohmann::ordered_json{
      {"tokens", result.tokens},
      {"stop", stop_reason_name(result.reason)},
      {"prompt_tokens", result.prompt_tokens},
      {"generated_tokens", result.tokens.size()},
      {"prefill_tok_s", result.prefill_rate()},
      {"decode_tok_s", result.decode_rate()},
      {"seed", seed},
  });
  print("{}\n", object.dump());
}

// An answer that ends before the model has ended it.
void say_what_cut_it_short(const GenerateResult& result, const Model& model) {
  if (result.reason == StopReason::max_tokens)
    note("hearth: cut short after {} tokens, as --max-tokens says\n", result.tokens.size());
  if (result.reason == StopReason::context_full)
    note("hearth: cut short: the context of {} tokens is full; --ctx makes it larger\n", model.options().n_ctx);
}

void check(const RunArguments& arguments) {
  const bool chat = is_chat(arguments);
  require(chat || !arguments.choices.any(), ErrorKind::usage,
          "--system, --chat-template, --think, --no-think and --hide-thoughts need a question or --chat");
  require(!chat || !arguments.special, ErrorKind::usage,
          "--special: what is said in a conversation holds no control tokens; with -p it is read to the letter");
  require(!chat || !arguments.has_suffix(), ErrorKind::usage, "--suffix needs -p or a text that is not a question");
  require_utf8(arguments.suffix, "--suffix");
  require_stops(arguments.stops);
}

void run(const RunArguments& arguments) {
  check(arguments);
  const std::string text = read_prompt(arguments.sources);
  ExpertRecorder recorder(arguments.record_experts);
  SessionOptions session_options = arguments.session;
  recorder.listen(session_options);
  LoadedModel session = open_session(session_options);
  std::optional<ChatTemplate> format;
  if (is_chat(arguments)) format = chat_template_of(session, arguments.choices);
  recorder.start(*session.model);
  if (arguments.session.verbose) print_banner(session);
  const Prompt prompt = format ? message(arguments, session, *format, text) : continuation(arguments, session, text);
  const SamplerOptions sampling =
      chosen_sampling(arguments.sampler, session.model->file().metadata(), format ? &*format : nullptr);
  if (arguments.session.verbose) print_sampling(session, sampling, format ? &*format : nullptr);
  Sampler sampler = session.sampler(sampling);
  Conversation conversation(*session.model, *session.tokenizer);

  AnswerPrinter printer(arguments.choices.show());
  AnswerSink sink = arguments.json ? AnswerSink{} : printer.sink();
  Answer answer = format ? Answer::in_chat(*session.tokenizer, prompt.opens_thoughts, format->answer_lead(),
                                           arguments.stops, std::move(sink))
                         : Answer::continuation(*session.tokenizer, arguments.stops, std::move(sink));
  GenerateOptions options;
  options.max_tokens = arguments.max_tokens;
  options.stop_tokens = prompt.stops;
  options.constraint = form_of(arguments, session, format ? &*format : nullptr, prompt);
  ReadingLine reading;
  const GenerateResult result =
      generate_answer(conversation, prompt.tokens, sampler, options, answer, terminal_callbacks(reading));
  answer.finish(result.reason);
  recorder.finish(result.reason == StopReason::interrupted);
  tell_refusal(session, arguments.session);
  keep_decode_speed(session, result);
  if (arguments.json) print_json(result, answer, is_chat(arguments), sampling.seed);
  flush_out();
  if (!arguments.json) say_what_cut_it_short(result, *session.model);
  if (arguments.session.verbose)
    note("read {} tokens at {:.0f} tok/s, wrote {} at {:.1f} tok/s, stopped by {}\n", result.prompt_tokens,
         result.prefill_rate(), result.tokens.size(), result.decode_rate(), stop_reason_name(result.reason));
  if (arguments.session.verbose) print_report(session);
  if (result.reason == StopReason::interrupted) fail(ErrorKind::interrupted, "interrupted");
}

}  // namespace

void add_run(CLI::App& app) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command =
      app.add_subcommand("run", "one answer to a question, or the continuation of a text, to standard output");
  add_model_option(*command, arguments->session);
  const auto add = [&](CLI::Option* option) { return option->group("Prompt"); };
  CLI::Option* question = add(command->add_option("question", arguments->question, "a question to the assistant"));
  CLI::Option* prompt = add(command->add_option("-p,--prompt", arguments->prompt,
                                                "a text to continue (a message to the assistant with --chat)"));
  add(command->add_option("--file,-f", arguments->sources.file, "read it, or what follows the question, from a file"));
  add(command->add_flag("--chat", arguments->chat, "the text is a message to the assistant"));
  add(command->add_flag("--special", arguments->special, "read control tokens in the text as such"));
  add(command->add_option("--suffix", arguments->suffix, "fill in what stands between the text and this one"));
  add(add_length_option(*command, arguments->max_tokens));
  add(add_stop_option(*command, arguments->stops));
  CLI::Option* schema = add(command->add_option("--schema", arguments->schema,
                                                "a file with a JSON Schema: the answer is JSON that satisfies it"));
  add(command->add_option("--grammar", arguments->grammar, "a file with a grammar in GBNF: the answer is a text of it"))
      ->excludes(schema);
  add(command->add_flag("--json", arguments->json, "print one JSON object instead of text"));
  add_chat_options(*command, arguments->choices);
  add_sampler_options(*command, arguments->sampler);
  add_session_options(*command, arguments->session);
  command
      ->add_option("--record-experts", arguments->record_experts,
                   "write down which experts each token uses, for hearth plan --simulate")
      ->group("GPU and experts");
  command->footer(
      "What is piped in follows the question or -p after an empty line. Of files and pipes a byte order mark, "
      "carriage\n"
      "returns at line ends and the last line's end are not part of the text.\n\n"
      "  hearth run lite.gguf \"What is MLA?\"            an answer\n"
      "  hearth run lite.gguf \"Summarise:\" < notes.txt  an answer about a file\n"
      "  hearth run lite.gguf -p \"Once upon a time\"     a text that goes on");
  command->callback([arguments, prompt, question] {
    PromptSources& sources = arguments->sources;
    // Here and not by CLI11, whose complaint would come before that of a misspelt option, whose value looks like a
    // question.
    require(question->count() == 0 || prompt->count() == 0, ErrorKind::usage,
            "a question and --prompt exclude each other: expected one");
    require(sources.file.empty() || prompt->count() == 0, ErrorKind::usage, "--file and --prompt exclude each other");
    if (question->count() > 0) sources.text = arguments->question, sources.text_name = "the question";
    if (prompt->count() > 0) sources.text = arguments->prompt, sources.text_name = "--prompt";
    run(*arguments);
  });
}

}  // namespace hearth::cli
