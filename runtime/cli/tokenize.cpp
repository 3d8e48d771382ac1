// hearth tokenize MODEL.gguf < text: one line of ids. A file that holds a vocabulary and no tensors will do.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "quant/error.h"
#include "quant/gguf.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/files.h"
#include "runtime/cli/terminal.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth::cli {
namespace {

struct TokenizeArguments {
  std::string model_path;
  bool bos = false, special = false, ids = false, pieces = false;
};

void tokenize(const TokenizeArguments& arguments) {
  const GgufFile file = GgufFile::open(arguments.model_path);
  const Tokenizer tokenizer(file.metadata());
  std::vector<Token> tokens = tokenizer.encode(read_text("-"), arguments.special);
  if (arguments.bos) {
    require(tokenizer.bos().has_value(), ErrorKind::model, "--bos: {} names no BOS token", arguments.model_path);
    tokens.insert(tokens.begin(), *tokenizer.bos());
  }
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (arguments.pieces)
      out += fmt::format("{:>7}  {}\n", tokens[i], repair_utf8(tokenizer.bytes_of(tokens[i], true)));
    else
      out += fmt::format("{}{}", i ? " " : "", tokens[i]);
  }
  if (!arguments.pieces) out += "\n";
  write_out(out);
}

}  // namespace

void add_tokenize(CLI::App& app) {
  auto arguments = std::make_shared<TokenizeArguments>();
  CLI::App* command = app.add_subcommand("tokenize", "token ids of standard input, on one line");
  command->add_option("model", arguments->model_path, "a GGUF file with a vocabulary")->required();
  command->add_flag("--ids", arguments->ids, "print ids (the default)");
  command->add_flag("--pieces", arguments->pieces, "print a line per token with its text")->excludes("--ids");
  command->add_flag("--bos", arguments->bos, "begin with the BOS token");
  command->add_flag("--special", arguments->special, "read the text of control tokens as those tokens");
  command->callback([arguments] { tokenize(*arguments); });
}

}  // namespace hearth::cli
