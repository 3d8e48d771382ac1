// hearth convert CHECKPOINT_DIR OUT.gguf
#include "convert/convert.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "runtime/cli/commands.h"
#include "runtime/cli/making.h"

namespace hearth::cli {
namespace {

struct ConvertArguments : MakingArguments {
  std::string checkpoint;
  bool no_mtp = false;
};

void convert(const ConvertArguments& arguments) {
  ConvertOptions options;
  arguments.set(options);
  options.checkpoint_dir = arguments.checkpoint;
  options.keep_mtp = !arguments.no_mtp;
  make(arguments, {"converting " + arguments.checkpoint, [&] { return plan_conversion(options); },
                   [&](const auto& progress) {
                     options.progress = progress;
                     return convert_checkpoint(options);
                   }});
}

}  // namespace

void add_convert(CLI::App& app) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand("convert", "turn a Hugging Face checkpoint into one quantized GGUF file");
  command->add_option("checkpoint", arguments->checkpoint, "folder with config.json, *.safetensors, tokenizer.json")
      ->required();
  command->add_option("output", arguments->output, "the file to make")->required();
  add_making_options(*command, *arguments);
  command->add_flag("--no-mtp", arguments->no_mtp, "leave out the multi-token-prediction layer of V3 and R1");
  command->callback([arguments] { convert(*arguments); });
}

}  // namespace hearth::cli
