// hearth chat MODEL.gguf: a conversation that streams and keeps its cache between turns.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "quant/error.h"
#include "runtime/cli/chat/chat_commands.h"
#include "runtime/cli/chat/chat_session.h"
#include "runtime/cli/chat_options.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/line_editor.h"
#include "runtime/cli/sampler_options.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"
#include "runtime/grammar/refusal.h"

namespace hearth::cli {
namespace {

struct ChatStart : ChatArguments {
  ChatSettings settings;
  ChatChoices choices;
};

// Reads until the end of input or /exit. On a terminal an error is told and the conversation goes on. In a pipe the
// other messages are answered too, and the first error's kind is how the program ends.
void converse(const ChatArguments& arguments, LoadedModel& model, ChatSession& session) {
  const bool interactive = stdin_is_terminal();
  LineEditor editor(arguments.no_history ? "" : default_history_path(), completed_commands());
  ChatCommands commands(arguments, model, session, editor);
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
        commands.answer(line);
      else if (!commands.obey(line))
        break;
    } catch (const Error& error) {
      if (!model.model->works() || error.kind == ErrorKind::interrupted) throw;  // nobody is left to talk with
      note("{}{}\n", interactive ? "" : fmt::format("hearth: line {}: ", number), grammar::in_one_line(error.what()));
      if (!failed) failed = error.kind;
    }
  }
  if (interactive) note("\n");
  if (session.counts().answers > 0 && arguments.session.verbose) commands.stats();
  if (failed && !interactive) throw Error(*failed, "");  // each was told when it came
}

void chat(const ChatStart& start) {
  require_stops(start.settings.stops);
  if (!start.transcript.empty()) Transcript(start.transcript, "");  // or it is refused before the model is opened
  LoadedModel model = open_session(start.session);
  ChatSettings settings = start.settings;
  settings.system = start.choices.system;
  settings.think = start.choices.thinking();
  settings.hide_thoughts = start.choices.hide_thoughts;
  ChatSession session(model, chat_template_of(model, start.choices), settings);
  if (start.session.verbose) print_banner(model);
  if (stdin_is_terminal() && !start.quiet) {
    print_summary(model);
    note("Ctrl-D leaves, /help lists the commands.\n\n");
  }
  if (start.session.verbose) print_sampling(model, session.sampling(), &session.format());
  converse(start, model, session);
}

}  // namespace

void add_chat(CLI::App& app) {
  auto start = std::make_shared<ChatStart>();
  CLI::App* command = app.add_subcommand("chat", "talk with a model; input may also be piped, one message a line");
  const auto add = [&](CLI::Option* option) { option->group("Conversation"); };
  add_model_option(*command, start->session);
  add_chat_options(*command, start->choices);
  add(add_length_option(*command, start->settings.max_tokens));
  add(add_stop_option(*command, start->settings.stops));
  add(command->add_option("--transcript", start->transcript, "append what is said to this file, as Markdown"));
  add(command->add_flag("--no-history", start->no_history, "keep nothing of what is typed"));
  add(command->add_flag("-q,--quiet", start->quiet,
                        "say nothing of the model at the start, nor how full the context is"));
  add_sampler_options(*command, start->settings.sampling);
  add_session_options(*command, start->session);
  command->footer("Commands in the chat, which /help explains:\n  " + command_names() +
                  "\n\n"
                  "  hearth chat lite.gguf\n"
                  "  hearth chat lite.gguf --system \"Answer in French.\" --temp 0\n"
                  "  hearth chat lite.gguf < questions.txt            one answer for each line");
  command->callback([start] { chat(*start); });
}

}  // namespace hearth::cli
