#include "runtime/cli/chat/chat_commands.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "quant/error.h"
#include "runtime/cli/chat/settings.h"
#include "runtime/cli/chat/words.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {

// The one list of commands: /help, Tab and what is said of a misspelt one come from it.
struct ChatCommandTable {
  struct Row {
    std::string_view name,
        argument;  // argument: "PATH" is one of a file, "on|off" are words; in brackets: may be missing
    std::string_view help;
    void (ChatCommands::*run)(const std::string& argument);  // null: leaves
  };
  static constexpr Row kRows[] = {
      {"/help", "", "this list", &ChatCommands::help},
      {"/set", "[NAME VALUE]", "change a setting (default: as at the start), or show them", &ChatCommands::set},
      {"/system", "[TEXT]", "start anew under a system message (off: under none)", &ChatCommands::system},
      {"/think", "on|off", "let the model think first, where its template can switch", &ChatCommands::think},
      {"/json", "[SCHEMA]", "answer in JSON by this schema or a file's; alone: any text", &ChatCommands::json},
      {"/file", "[PATH]", "put a text file in front of the next message (off: none)", &ChatCommands::file},
      {"/retry", "", "answer the last message anew", &ChatCommands::retry},
      {"/edit", "[TEXT]", "change the last message and answer that", &ChatCommands::edit},
      {"/undo", "", "take the last message and its answer back", &ChatCommands::undo},
      {"/drop", "", "forget the oldest turns until half the context is free", &ChatCommands::drop},
      {"/clear", "", "start anew", &ChatCommands::clear},
      {"/save", "[PATH]", "write the conversation and its settings into a file", &ChatCommands::save},
      {"/load", "PATH", "go on with the conversation in a file", &ChatCommands::load},
      {"/copy", "[code]", "put the last answer, or its code, on the clipboard", &ChatCommands::copy},
      {"/stats", "", "tokens, speed, what is left of the context, the seed", &ChatCommands::stats},
      {"/exit", "", "leave (so does Ctrl-D)", nullptr},
  };
};

namespace {

using Row = ChatCommandTable::Row;

constexpr std::string_view kMore =
    "//TEXT               a message that begins with /TEXT\n"
    "\"\"\"                  begins and ends a message of several lines, as pasting does\n"
    "\\                    at the end of a line: the message goes on in the next one\n"
    "Ctrl-C stops an answer.\n";

// What Tab offers behind the name.
std::vector<std::string> arguments_of(const Row& row) {
  if (row.argument.find("PATH") != std::string_view::npos) return {" PATH"};
  if (row.argument == "on|off") return {" on", " off"};
  if (row.argument == "[code]") return {"", " code"};
  std::vector<std::string> all = {row.argument.empty() ? "" : " "};
  if (row.argument == "[NAME VALUE]")
    for (const std::string_view name : setting_names()) all.push_back(fmt::format(" {} ", name));
  return all;
}

// "/retyr", "/Retry", "/", but not "/etc/hosts", "/r/linux" or "/2".
bool looks_like_command(std::string_view word) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-?";
  return word.starts_with('/') && word.find_first_not_of(kLetters, 1) == std::string_view::npos;
}

const Row* row_named(std::string_view name) {
  // What they are called in other programs.
  constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
      {"/?", "/help"},      {"/bye", "/exit"},    {"/quit", "/exit"}, {"/new", "/clear"},
      {"/reset", "/clear"}, {"/regen", "/retry"}, {"/read", "/file"},
  };
  for (const auto& [alias, command] : kAliases)
    if (name == alias) name = command;
  const Row* const row = std::ranges::find(ChatCommandTable::kRows, name, &Row::name);
  return row == std::end(ChatCommandTable::kRows) ? nullptr : row;
}

[[noreturn]] void refuse_command(const std::string& name) {
  std::vector<std::string_view> names;
  for (const Row& row : ChatCommandTable::kRows) names.push_back(row.name);
  const std::string_view meant = nearest_word(name, names);
  fail(ErrorKind::usage, "unknown command {}{} (/help lists them; /{} sends it as a message)", name.substr(0, 60),
       meant.empty() ? "" : fmt::format(": did you mean {}?", meant), name.substr(0, 60));
}

}  // namespace

std::vector<std::string> completed_commands() {
  std::vector<std::string> all;
  for (const Row& row : ChatCommandTable::kRows)
    for (const std::string& argument : arguments_of(row)) all.push_back(std::string(row.name) + argument);
  return all;
}

std::string command_names() {
  std::string all;
  for (const Row& row : ChatCommandTable::kRows) all += fmt::format("{}{}", all.empty() ? "" : " ", row.name);
  return all;
}

ChatCommands::ChatCommands(const ChatArguments& arguments, LoadedModel& model, ChatSession& session, LineEditor& editor)
    : arguments_(arguments),
      model_(model),
      session_(session),
      editor_(editor),
      at_start_(session.settings()),
      transcript_(arguments.transcript, model.model->config().name) {}

bool ChatCommands::obey(const std::string& line) {
  const SplitLine split = split_first_word(line);
  if (!looks_like_command(split.word)) {
    answer(line.starts_with("//") ? line.substr(1) : line);
    return true;
  }
  const Row* const row = row_named(split.word);
  if (!row) refuse_command(split.word);
  require(!row->argument.empty() || split.rest.empty(), ErrorKind::usage,
          "{}: expected nothing behind it, found \"{}\" (/{} sends it as a message)", row->name,
          split.rest.substr(0, 60), row->name);
  if (!row->run) return false;
  (this->*row->run)(split.rest);
  transcript_.require_written();
  return true;
}

void ChatCommands::help(const std::string&) {
  for (const Row& row : ChatCommandTable::kRows)
    note("{:20} {}\n", fmt::format("{} {}", row.name, row.argument), row.help);
  note("{}", kMore);
  if (const std::string path = default_history_path(); !arguments_.no_history && !path.empty())
    note("What is typed is kept in {} (--no-history).\n", path);
}

void ChatCommands::stats(const std::string&) {
  const ChatCounts& counts = session_.counts();
  const int64_t ran = counts.prompt_tokens - counts.cached_tokens;
  const auto rate = [](int64_t tokens, double seconds) { return seconds > 0 ? double(tokens) / seconds : 0.0; };
  note(
      "{} answers: read {} tokens at {:.0f} tok/s ({} more were in the cache), wrote {} at {:.1f} tok/s; "
      "context {} of {} tokens; seed {}\n",
      counts.answers, ran, rate(ran, counts.prefill_seconds), counts.cached_tokens, counts.generated_tokens,
      rate(counts.generated_tokens, counts.decode_seconds), session_.used_tokens(), session_.n_ctx(),
      session_.sampling().seed);
  print_report(model_);
}

}  // namespace hearth::cli
