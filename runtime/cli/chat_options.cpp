#include "runtime/cli/chat_options.h"

#include <CLI/CLI.hpp>

#include "quant/error.h"
#include "runtime/cli/files.h"
#include "runtime/cli/numbers.h"

namespace hearth::cli {

void add_chat_options(CLI::App& command, ChatChoices& choices) {
  std::string names;
  for (const std::string& name : chat_template_names()) names += (names.empty() ? "" : " ") + name;
  const auto add = [&](CLI::Option* option) { return option->group("Conversation"); };
  add(command.add_option("--system", choices.system, "system message"));
  add(command.add_option(
      "--chat-template", choices.chat_template,
      "the chat format, instead of the file's own: a file with a Jinja template, or one of: " + names));
  CLI::Option* think =
      add(command.add_flag("--think", choices.think, "let the model think first, where its format has a switch"));
  add(command.add_flag("--no-think", choices.no_think, "let it answer at once"))->excludes(think);
  add(command.add_flag("--hide-thoughts", choices.hide_thoughts, "show the answer only"));
}

CLI::Option* add_length_option(CLI::App& command, int64_t& max_tokens) {
  return command
      .add_option("-n,--max-tokens", max_tokens, "longest answer in tokens, as 512 or 4k; -1: no limit (default)")
      ->transform(answer_length());
}

CLI::Option* add_stop_option(CLI::App& command, std::vector<std::string>& stops) {
  return command.add_option("--stop", stops, "end the answer in front of this text; may be given several times")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

void require_stops(const std::vector<std::string>& stops, const std::string& name) {
  for (const std::string& stop : stops) {
    require(!stop.empty(), ErrorKind::usage, "{}: expected text, found nothing", name);
    require_utf8(stop, name);
  }
}

void require_thinking_switch(const ChatTemplate& format, const std::string& name) {
  require(format.can_switch_thinking(), ErrorKind::usage, "{}: the chat template {} has no switch for thinking: {}",
          name, format.name(), format.thinks() ? "its model thinks as it likes" : "it knows no thoughts");
}

ChatTemplate chat_template_of(const LoadedModel& session, const ChatChoices& choices) {
  require_utf8(choices.system, "--system");
  const GgufFile& file = session.model->file();
  auto chosen = choose_chat_template(choices.chat_template, file.metadata(), *session.tokenizer);
  if (!chosen) {
    const std::vector<std::string> fitting = fitting_chat_templates(*session.tokenizer);
    fail(ErrorKind::model,
         "{}: holds no chat template: `hearth run MODEL -p TEXT` continues a text, and --chat-template {} "
         "gives it a chat format",
         file.path(), fitting.empty() ? "NAME" : fitting.front());
  }
  if (choices.thinking()) require_thinking_switch(*chosen, choices.think ? "--think" : "--no-think");
  return std::move(*chosen);
}

}  // namespace hearth::cli
