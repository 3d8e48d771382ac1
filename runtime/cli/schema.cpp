// hearth schema FILE < TEXT: whether a text satisfies a schema, and where it would have been stopped.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "quant/error.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/files.h"
#include "runtime/cli/terminal.h"
#include "runtime/grammar/grammar.h"

namespace hearth::cli {
namespace {

struct SchemaArguments {
  std::string path;
  std::string draft = "auto";
  bool formats = false;
};

// The next bytes in front of which the text was stopped, for people.
std::string shown(const std::string& text, size_t at) {
  if (at >= text.size()) return "the end";
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte > 0x20 && byte < 0x7F) return std::string(1, text[at]);
  return fmt::format("byte 0x{:02x}", byte);
}

void schema(const SchemaArguments& arguments) {
  grammar::SchemaOptions options;
  if (arguments.draft == "2019-09")
    options.draft = 2019;
  else if (arguments.draft == "2020-12")
    options.draft = 2020;
  else if (arguments.draft != "auto")
    options.draft = std::stoi(arguments.draft);
  options.formats = arguments.formats;
  const std::string rules = read_text(arguments.path);
  std::shared_ptr<const grammar::Grammar> compiled;
  try {
    compiled = grammar::compile_schema(rules, options);
  } catch (const grammar::Refusal& refusal) {
    fail(ErrorKind::usage, "{}: refused at {}: {}", arguments.path, refusal.where.empty() ? "/" : refusal.where,
         refusal.why);
  }
  std::string text = read_text("-");
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  grammar::Matcher matcher(compiled);
  const size_t taken = matcher.advance(text);
  if (taken == text.size() && matcher.may_end()) {
    print("accepted\n");
    return;
  }
  size_t line = 1, column = 1;
  for (const char c : text.substr(0, taken)) {
    ++column;
    if (c == '\n') ++line, column = 1;
  }
  fail(ErrorKind::format, "stopped at line {}, column {} (byte {}), in front of {}", line, column, taken,
       shown(text, taken));
}

}  // namespace

void add_schema(CLI::App& app) {
  auto arguments = std::make_shared<SchemaArguments>();
  CLI::App* command = app.add_subcommand("schema", "whether standard input satisfies a JSON Schema");
  command->add_option("schema", arguments->path, "a JSON Schema")->required();
  command->add_option("--draft", arguments->draft, "the draft of the schema (default: what $schema says, else 2020-12)")
      ->check(CLI::IsMember({"auto", "4", "6", "7", "2019-09", "2020-12"}));
  command->add_flag("--formats", arguments->formats, "format asserts something: dates, addresses, UUIDs ...");
  command->footer(
      "Prints \"accepted\" and ends with 0; or ends with 1 and says where an answer bound to the schema would have\n"
      "been stopped, or with 2 and says which part of the schema cannot be honoured, as a JSON pointer.");
  command->callback([arguments] { schema(*arguments); });
}

}  // namespace hearth::cli
