// hearth logits MODEL.gguf --tokens 1,2,3 --output FILE: raw float32 [n_tokens, vocab], for comparison with any
// reference.
#include <CLI/CLI.hpp>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "quant/checksum.h"
#include "quant/output_file.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/reading_line.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

struct LogitsArguments {
  SessionOptions session;
  std::string tokens, output;
};

void logits(const LogitsArguments& arguments) {
  const std::vector<Token> tokens = parse_token_ids(arguments.tokens, "--tokens");
  SessionOptions options = arguments.session;
  options.load.needs_text = false;
  catch_interrupts();  // from here on there is something to clean up
  OutputFile output(arguments.output);
  if (options.ctx == 0) options.ctx = int64_t(tokens.size());
  LoadedModel session = open_session(options);
  if (options.verbose) print_banner(session);
  KvCache cache = session.model->new_cache();
  std::vector<float> values(tokens.size() * size_t(session.model->config().vocab_size));
  ReadingLine reading;
  const bool done = session.model->run(tokens, cache, values, true, [&](const RunProgress& progress) {
    reading.show(progress);
    return !interrupted();
  });
  reading.finish();
  if (!done) check_interrupt();
  const auto bytes = std::as_bytes(std::span(values));
  output.write(bytes);
  if (output.finish()) note("hearth: {}: another program wrote it meanwhile; replaced\n", arguments.output);
  note("{}: float32 [{}, {}], XXH3 {}\n", arguments.output, tokens.size(), session.model->config().vocab_size,
       checksum_text(checksum(bytes)));
}

}  // namespace

void add_logits(CLI::App& app) {
  auto arguments = std::make_shared<LogitsArguments>();
  CLI::App* command = app.add_subcommand("logits", "write the logits of a sequence of tokens");
  add_model_option(*command, arguments->session);
  add_session_options(*command, arguments->session);
  command->add_option("--tokens", arguments->tokens, "ids, separated by commas")->required();
  command->add_option("--output,-o", arguments->output, "file to write")->required();
  command->callback([arguments] { logits(*arguments); });
}

}  // namespace hearth::cli
