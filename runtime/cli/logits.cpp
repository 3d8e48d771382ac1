// hearth logits MODEL.gguf --tokens 1,2,3 --output FILE: raw float32 [n_tokens, vocab], for comparison with any
// reference.
#include <CLI/CLI.hpp>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "quant/checksum.h"
#include "quant/error.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/files.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

struct LogitsArguments {
  SessionOptions session;
  std::vector<Token> tokens;
  std::string output;
};

void logits(const LogitsArguments& arguments) {
  SessionOptions options = arguments.session;
  options.needs_text = false;
  if (options.ctx == 0) options.ctx = int64_t(arguments.tokens.size());
  Session session = open_session(options);
  if (options.verbose) print_banner(session);
  KvCache cache = session.model->new_cache();
  std::vector<float> values(arguments.tokens.size() * size_t(session.model->config().vocab_size));
  session.model->run(arguments.tokens, cache, values, true);
  const auto bytes = std::as_bytes(std::span(values));
  write_file(arguments.output, bytes);
  note("{}: float32 [{}, {}], XXH3 {}\n", arguments.output, arguments.tokens.size(), session.model->config().vocab_size,
       checksum_text(checksum(bytes)));
}

}  // namespace

void add_logits(CLI::App& app) {
  auto arguments = std::make_shared<LogitsArguments>();
  CLI::App* command = app.add_subcommand("logits", "write the logits of a sequence of tokens");
  add_session_options(*command, arguments->session);
  command->add_option("--tokens", arguments->tokens, "ids, separated by commas")->delimiter(',')->required();
  command->add_option("--output,-o", arguments->output, "file to write")->required();
  command->callback([arguments] { logits(*arguments); });
}

}  // namespace hearth::cli
