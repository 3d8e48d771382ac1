#include "runtime/cli/pull_convert.h"

#include <algorithm>
#include <cctype>

#include "convert/recipe.h"
#include "quant/error.h"
#include "runtime/cli/go_on.h"
#include "runtime/cli/hub_shards.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/terminal.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {

std::string output_name(const std::string& repository) {
  std::string name = repository.substr(repository.rfind('/') + 1);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return name + ".gguf";
}

void add_convert_on_the_way(CLI::App& command, ConvertOnTheWay& arguments) {
  constexpr const char* kGroup = "A checkpoint that is converted while it comes";
  CLI::Option* const convert =
      command.add_option("--convert", arguments.convert, "make one GGUF file of it by this recipe: " + recipes_text())
          ->type_name("RECIPE")
          ->group(kGroup);
  std::vector<CLI::Option*> others = add_encoding_options(command, arguments);
  others.push_back(command.add_option("--out", arguments.output, "the file to make (default: the repository's name)")
                       ->type_name("FILE"));
  others.push_back(command
                       .add_option("--keep-shards", arguments.keep_shards,
                                   "the most of the checkpoint's files that lie on the disk at once (default: two "
                                   "more than are needed at once)")
                       ->transform(whole_number(1, 100'000)));
  others.push_back(
      command.add_flag("--no-mtp", arguments.no_mtp, "leave out the multi-token-prediction layer of V3 and R1"));
  for (CLI::Option* option : others) option->needs(convert)->group(kGroup);
}

void convert_on_the_way(ConvertOnTheWay arguments, const hub::PullOptions& pulled, const hub::PullPlan& plan,
                        const hub::Tell& tell) {
  if (arguments.output.empty()) arguments.output = output_name(pulled.repository);
  arguments.recipe = arguments.convert;
  HubShards shards(pulled, plan, arguments.keep_shards, arguments.dry_run, check_interrupt, tell);
  ConvertOptions options;
  arguments.set(options);
  options.checkpoint_dir = plan.snapshot;
  options.keep_mtp = !arguments.no_mtp;
  options.shards = &shards;

  ProgressBar bar("fetching");
  bool told = false;
  Making making;
  making.begun = "converting " + pulled.repository;
  making.plan = [&] { return plan_conversion(options); };
  making.make = [&](const auto& progress) {
    options.progress = progress;
    try {
      return convert_checkpoint(options);
    } catch (...) {
      bar.finish();
      throw;
    }
  };
  making.show = [&](const ConvertProgress& p) {
    if (!std::exchange(told, true) && !shards.room_text().empty()) note("on the disk: {}\n", shards.room_text());
    shards.check();
    const hub::FetchedAhead now = shards.progress();
    if (now.fetched >= now.total) {
      bar.finish();
      return false;
    }
    const double made = p.bytes_total > 0 ? 100.0 * double(p.bytes_done) / double(p.bytes_total) : 0;
    bar.show(now.fetched, now.total, "",
             fmt::format(", {} of {}, made {:.0f} %", decimal_size_text(double(now.fetched)),
                         decimal_size_text(double(now.total)), made));
    return true;
  };
  make(arguments, making);
  if (arguments.dry_run) {
    if (!shards.room_text().empty())
      print("on the disk, besides: {} ({} are free)\n", shards.room_text(),
            decimal_size_text(double(shards.free_bytes())));
    return;
  }
  print("{}\n", arguments.output);
  offer("Talk with it now?", {"chat", arguments.output});
}

}  // namespace hearth::cli
