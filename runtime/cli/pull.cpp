// hearth pull REPOSITORY
#include "runtime/hub/pull.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "convert/recipe.h"
#include "quant/error.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/go_on.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/pull_convert.h"
#include "runtime/cli/terminal.h"
#include "runtime/hub/cache.h"
#include "runtime/support/seconds_since.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {
namespace {

struct PullArguments {
  hub::PullOptions options;
  ConvertOnTheWay on_the_way;
  bool dry_run = false;
};

std::string size_of(uint64_t bytes) {
  return decimal_size_text(double(bytes));
}

std::string files_text(size_t n) {
  return n == 1 ? "1 file" : fmt::format("{} files", n);
}

void print_choices(const std::vector<hub::Choice>& choices) {
  for (const hub::Choice& choice : choices) {
    print("{:>9}  {:>9}  --include '{}'\n", size_of(choice.bytes), files_text(choice.n_files), choice.pattern);
  }
  flush_out();
}

void print_files(const hub::PullPlan& plan) {
  const auto is_missing = [&](const hub::HubFile& file) {
    return std::any_of(plan.missing.begin(), plan.missing.end(), [&](const auto& m) { return m.path == file.path; });
  };
  for (const hub::HubFile& file : plan.selection.files)
    print("{:>9}  {}{}\n", size_of(file.size), file.path, is_missing(file) ? "" : "  (is there)");
  print("{:>9}  {}, of which {} are to be fetched\n", size_of(plan.bytes), files_text(plan.selection.files.size()),
        size_of(plan.bytes_missing));
}

// What a program wants of this one goes to standard output, what a person wants to know to standard error.
void print_result(const hub::PullOptions& options, const hub::PullPlan& plan) {
  using hub::Content;
  const bool gguf = plan.selection.content == Content::gguf;
  const std::string path = gguf ? plan.snapshot + "/" + plan.selection.first_gguf : plan.snapshot;
  print("{}\n", path);
  if (gguf) offer("Talk with it now?", {"chat", path});
  if (plan.selection.content == Content::checkpoint) {
    const std::string output = output_name(options.repository);
    offer(fmt::format("Convert it to {} by recipe q4_k_m now?", output),
          {"convert", path, output, "--recipe", "q4_k_m"});
  }
}

void fetch(const hub::PullOptions& options, const hub::PullPlan& plan, const hub::Tell& tell) {
  ProgressBar bar("fetching"), checking("checking");
  uint64_t most_to_check = 0;
  const auto start = std::chrono::steady_clock::now();
  const auto progress = [&](const hub::DownloadProgress& now) {
    check_interrupt();
    const uint64_t total = plan.bytes_missing - std::min(plan.bytes_missing, now.resumed);
    if (now.fetched < total) return bar.show(now.fetched, total, now.file);
    bar.finish();
    most_to_check = std::max(most_to_check, now.to_check);
    checking.show(most_to_check - now.to_check, most_to_check, "");
  };
  try {
    hub::pull(options, plan, progress, tell);
  } catch (const Error& error) {
    bar.finish();
    checking.finish();
    if (error.kind != ErrorKind::interrupted) throw;
    fail(error.kind, "interrupted: the same command goes on from here");
  }
  bar.finish();
  checking.finish();
  note("{} at {}: {}, {}, of which {} were fetched and checked in {}\n", options.repository, plan.commit.substr(0, 12),
       files_text(plan.selection.files.size()), size_of(plan.bytes), size_of(plan.bytes_missing),
       duration_text(seconds_since(start)));
}

// Of a repository that has GGUF files besides, the checkpoint is meant.
void prepare_converting(PullArguments& arguments) {
  const std::string& recipe = arguments.on_the_way.convert;
  if (recipe != "keep") find_recipe(recipe);  // said before anything is fetched
  arguments.on_the_way.dry_run = arguments.dry_run;
  arguments.options.tensors_later = true;
  arguments.options.exclude.push_back("*.gguf");
}

void pull(PullArguments& arguments) {
  hub::PullOptions& options = arguments.options;
  options.cache = hub::cache_folder();
  options.fetch.endpoint = hub::hub_endpoint();
  options.fetch.token = hub::hub_token();
  const bool converting = !arguments.on_the_way.convert.empty();
  if (converting) prepare_converting(arguments);
  catch_interrupts();
  const auto tell = [](const std::string& text) { note("{}{}\n", stderr_is_terminal() ? "\r\033[K" : "", text); };
  const hub::PullPlan plan = hub::plan_pull(options, check_interrupt, tell);
  if (!plan.selection.choices.empty()) {
    print_choices(plan.selection.choices);
    fail(ErrorKind::usage, "{}: has {} models: choose one of them by --include", options.repository,
         plan.selection.choices.size());
  }
  if (arguments.dry_run && !converting) return print_files(plan);
  if (!converting) {
    fetch(options, plan, tell);
    return print_result(options, plan);
  }
  require(!plan.later.empty() && plan.selection.content == hub::Content::checkpoint, ErrorKind::usage,
          "{}: expected a checkpoint to convert, *.safetensors and config.json in its uppermost folder, found none",
          options.repository);
  if (plan.missing.empty())
    hub::pull(options, plan, {}, tell);
  else
    fetch(options, plan, tell);
  convert_on_the_way(arguments.on_the_way, options, plan, tell);
}

}  // namespace

void add_pull(CLI::App& app) {
  auto arguments = std::make_shared<PullArguments>();
  hub::PullOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand("pull", "fetch a checkpoint or a GGUF file from Hugging Face's hub");
  command->add_option("repository", options.repository, "as deepseek-ai/DeepSeek-V2-Lite-Chat")->required();
  const auto patterns = [&](const char* name, std::vector<std::string>& to, const char* help) {
    command->add_option(name, to, help)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false)
        ->type_name("PATTERN");
  };
  patterns("--include", options.include,
           "only files of these names, * is any text; may be given several times (default: what hearth needs of a "
           "checkpoint, or the GGUF file)");
  patterns("--exclude", options.exclude, "no files of these names; may be given several times");
  command->add_option("--revision", options.revision, "a branch, a tag or a commit")->capture_default_str();
  command->add_option("--connections", options.fetch.connections, "files, or parts of a file, fetched at once")
      ->transform(whole_number(1, 64))
      ->capture_default_str();
  command->add_flag(
      "--dry-run", arguments->dry_run,
      "list what would be fetched, fetch nothing; with --convert: print the plan of the file, fetch what that needs");
  add_convert_on_the_way(*command, arguments->on_the_way);
  command->footer(
      "Files come into the hub's own cache (HF_HUB_CACHE, or HF_HOME/hub), where other programs find them too; the\n"
      "path is printed. What was interrupted goes on where it stopped. HF_TOKEN opens what is not public, HF_ENDPOINT\n"
      "names another hub.");
  command->callback([arguments] { pull(*arguments); });
}

}  // namespace hearth::cli
