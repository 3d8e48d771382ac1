// How answers are to be.
#include "quant/error.h"
#include "runtime/cli/chat/chat_commands.h"
#include "runtime/cli/chat/settings.h"
#include "runtime/cli/chat/words.h"
#include "runtime/cli/files.h"
#include "runtime/cli/terminal.h"
#include "runtime/support/text_file.h"

namespace hearth::cli {

// One setting, and what it is now.
void ChatCommands::change(const std::string& name, const std::string& value) {
  require_utf8(value, name);
  if (!value.empty()) session_.set(with_setting(session_.settings(), name, value, at_start_));
  note("{}\n", setting_line(name, session_.settings(), session_.sampling(), session_.format()));
}

void ChatCommands::set(const std::string& name_and_value) {
  SplitLine split = split_first_word(name_and_value);
  if (split.word == "parameter") split = split_first_word(split.rest);  // ollama's word
  if (!split.word.empty()) {
    change(split.word, split.rest);
    return;
  }
  for (const std::string_view name : setting_names())
    note("{}\n", setting_line(std::string(name), session_.settings(), session_.sampling(), session_.format()));
  note("{:18} {}\n", "/json", session_.settings().schema ? "answers satisfy a schema" : "any text");
}

void ChatCommands::system(const std::string& text) {
  if (text.empty()) {
    const std::string& system = session_.settings().system;
    note("{}\n", system.empty() ? "(no system message)" : system);
    return;
  }
  require_utf8(text, "/system");
  session_.set(with_setting(session_.settings(), "system", text, at_start_));
  session_.clear();
  saved_at_.clear();
  transcript_.remark(fmt::format("/system {}", text));
  note("(a new conversation under {})\n",
       session_.settings().system.empty() ? "no system message" : "this system message");
}

void ChatCommands::think(const std::string& value) {
  change("think", value);
}

// The schema itself, or a file that holds it.
void ChatCommands::json(const std::string& schema) {
  constexpr size_t kMostBytes = size_t(16) << 20;
  ChatSettings settings = session_.settings();
  settings.schema.reset();
  if (!schema.empty()) settings.schema = schema[0] == '{' ? schema : read_text_file(typed_path(schema), kMostBytes);
  session_.set(std::move(settings));
  note("({})\n", schema.empty() ? "answers are any text" : "answers satisfy this schema; /json alone ends that");
}

}  // namespace hearth::cli
