// hearth quantize IN.gguf OUT.gguf
#include "convert/quantize.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "runtime/cli/commands.h"
#include "runtime/cli/making.h"

namespace hearth::cli {
namespace {

struct QuantizeArguments : MakingArguments {
  std::string input;
};

void quantize(const QuantizeArguments& arguments) {
  QuantizeOptions options;
  arguments.set(options);
  options.input = arguments.input;
  make(arguments, {"quantizing " + arguments.input, [&] { return plan_quantization(options); },
                   [&](const auto& progress) {
                     options.progress = progress;
                     return quantize_file(options);
                   }});
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto arguments = std::make_shared<QuantizeArguments>();
  CLI::App* command = app.add_subcommand("quantize", "turn a GGUF file into one by another recipe");
  command->add_option("input", arguments->input, "the file, or any part of a split one")->required();
  command->add_option("output", arguments->output, "the file to make")->required();
  add_making_options(*command, *arguments);
  command->callback([arguments] { quantize(*arguments); });
}

}  // namespace hearth::cli
