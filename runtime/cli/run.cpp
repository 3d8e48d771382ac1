// hearth run MODEL.gguf -p TEXT: one answer to standard output; works in pipes.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "quant/error.h"
#include "runtime/chat_template.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/expert_recorder.h"
#include "runtime/cli/files.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/reading_line.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"
#include "runtime/generate.h"

namespace hearth::cli {
namespace {

struct RunArguments {
  SessionOptions session;
  SamplerOptions sampler;
  std::string prompt, file, system, record_experts;
  bool has_prompt = false, chat = false, json = false;
  int64_t max_tokens = -1;
};

std::string prompt_text(const RunArguments& arguments) {
  std::string text;
  if (arguments.has_prompt) {
    text = arguments.prompt;
    require_utf8(text, "--prompt");
  } else if (!arguments.file.empty()) {
    text = read_text(arguments.file);
    require_utf8(text, arguments.file);
  } else {
    require(!stdin_is_terminal(), ErrorKind::usage, "no prompt: give --prompt TEXT, --file PATH, or pipe it in");
    text = read_text("-");
    require_utf8(text, "standard input");
  }
  require(!text.empty(), ErrorKind::usage, "the prompt is empty");
  return text;
}

// The tokens of the prompt, BOS included.
std::vector<Token> prompt_tokens(const RunArguments& arguments, const Session& session, const std::string& text) {
  if (!arguments.chat) {
    std::vector<Token> tokens = session.tokenizer->encode(text, false);
    if (session.tokenizer->add_bos() && session.tokenizer->bos())
      tokens.insert(tokens.begin(), *session.tokenizer->bos());
    return tokens;
  }
  const ChatFormat format = recognise_chat_format(session.chat_template);
  require(format != ChatFormat::none, ErrorKind::model, "--chat: {} holds no chat template",
          arguments.session.model_path);
  std::vector<ChatMessage> messages;
  if (!arguments.system.empty()) messages.push_back({ChatMessage::Role::system, arguments.system});
  std::string question = text;
  while (!question.empty() && question.back() == '\n') question.pop_back();  // what `echo` adds
  require(!question.empty(), ErrorKind::usage, "the prompt is empty");
  messages.push_back({ChatMessage::Role::user, question});
  return session.tokenizer->encode(render_chat(format, messages, true));
}

void print_json(const GenerateResult& result, const std::string& text) {
  const nlohmann::ordered_json object = {
      {"text", text},
      {"tokens", result.tokens},
      {"stop", stop_reason_name(result.reason)},
      {"prompt_tokens", result.prompt_tokens},
      {"generated_tokens", result.tokens.size()},
      {"prefill_tok_s", result.prefill_rate()},
      {"decode_tok_s", result.decode_rate()},
  };
  print("{}\n", object.dump());
}

void run(const RunArguments& arguments) {
  require(arguments.chat || arguments.system.empty(), ErrorKind::usage, "--system needs --chat");
  require_utf8(arguments.system, "--system");
  const std::string prompt = prompt_text(arguments);
  ExpertRecorder recorder(arguments.record_experts);
  SessionOptions session_options = arguments.session;
  recorder.listen(session_options);
  Session session = open_session(session_options);
  recorder.start(*session.model);
  if (arguments.session.verbose) print_banner(session);
  const std::vector<Token> tokens = prompt_tokens(arguments, session, prompt);
  Sampler sampler = session.sampler(arguments.sampler);
  Conversation conversation(*session.model, *session.tokenizer);

  std::string text;
  Utf8Stream utf8;
  const auto show = [&](const std::string& piece) {
    text += piece;
    if (arguments.json || piece.empty()) return;
    write_out(piece);
    flush_out();
  };
  GenerateOptions options;
  options.max_tokens = arguments.max_tokens;
  GenerateCallbacks callbacks;
  ReadingLine reading;
  callbacks.stop_now = interrupted;
  callbacks.on_reading = [&](const RunProgress& progress) { reading.show(progress); };
  callbacks.on_token = [&](Token token) {
    reading.finish();
    show(utf8.push(session.tokenizer->bytes_of(token, true)));
  };
  GenerateResult result;
  try {
    result = conversation.generate(tokens, sampler, options, callbacks);
  } catch (const Error&) {
    if (!text.empty() && !arguments.json) write_out("\n");  // half an answer is a line too
    flush_out();
    throw;
  }
  reading.finish();
  show(utf8.finish());
  recorder.finish(result.reason == StopReason::interrupted);
  if (arguments.json)
    print_json(result, text);
  else
    write_out("\n");
  flush_out();
  if (arguments.session.verbose)
    note("read {} tokens at {:.0f} tok/s, wrote {} at {:.1f} tok/s, stopped by {}\n", result.prompt_tokens,
         result.prefill_rate(), result.tokens.size(), result.decode_rate(), stop_reason_name(result.reason));
  keep_decode_speed(session, result);
  if (arguments.session.verbose) print_report(session);
  if (result.reason == StopReason::interrupted) fail(ErrorKind::interrupted, "interrupted");
}

}  // namespace

void add_run(CLI::App& app) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "one answer, or the continuation of a text, to standard output");
  add_session_options(*command, arguments->session);
  add_sampler_options(*command, arguments->sampler);
  CLI::Option* prompt = command->add_option("-p,--prompt", arguments->prompt, "the text (default: standard input)");
  command->add_option("--file,-f", arguments->file, "read the text from a file")->excludes(prompt);
  command
      ->add_option("-n,--max-tokens", arguments->max_tokens,
                   "longest answer in tokens, as 512 or 4k; -1: no limit (default)")
      ->transform(answer_length());
  command->add_flag("--chat", arguments->chat, "the text is a message to the assistant, not the beginning of a text");
  command->add_option("--system", arguments->system, "system message, with --chat");
  command->add_option("--record-experts", arguments->record_experts,
                      "write down which experts each token uses, for hearth plan --simulate");
  command->add_flag("--json", arguments->json, "print one JSON object instead of text");
  command->callback([arguments, prompt] {
    arguments->has_prompt = prompt->count() > 0;
    run(*arguments);
  });
}

}  // namespace hearth::cli
