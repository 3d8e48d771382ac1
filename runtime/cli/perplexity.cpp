// hearth perplexity MODEL.gguf --file TEXT: how well the model predicts a text; with a baseline, how far it is from it.
#include "runtime/eval/perplexity.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "quant/error.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/files.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {
namespace {

struct PerplexityArguments {
  SessionOptions session;
  PerplexityOptions options;
  std::string file;
  bool special = false, json = false;
};

void print_json(const PerplexityResult& r) {
  nlohmann::ordered_json object = {{"perplexity", r.ppl}, {"error", r.ppl_error}, {"windows", r.n_windows},
                                   {"window", r.window},  {"scored", r.n_scored}, {"seconds", r.seconds}};
  if (const auto& d = r.divergence) {
    object["baseline"] = {{"model", d->baseline_name}, {"perplexity", d->baseline_ppl}};
    object["kl_divergence"] = {{"mean", d->mean_kl},
                               {"error", d->mean_kl_error},
                               {"median", d->median_kl},
                               {"p99", d->p99_kl},
                               {"max", d->max_kl}};
    object["same_top_token"] = d->top1_agreement;
  }
  print("{}\n", object.dump(2));
}

void print_text(const PerplexityResult& r) {
  print("perplexity      {:.4f} +- {:.4f}  ({} tokens scored in {} windows of {})\n", r.ppl, r.ppl_error, r.n_scored,
        r.n_windows, r.window);
  if (const auto& d = r.divergence) {
    print("baseline        {:.4f}  ({})\n", d->baseline_ppl, d->baseline_name);
    print("KL divergence   mean {:.6f} +- {:.6f}, median {:.6f}, 99 % {:.6f}, largest {:.6f}\n", d->mean_kl,
          d->mean_kl_error, d->median_kl, d->p99_kl, d->max_kl);
    print("same top token  {:.2f} %\n", 100 * d->top1_agreement);
  }
}

void perplexity(PerplexityArguments& arguments) {
  const std::string text = read_text(arguments.file);
  require_utf8(text, arguments.file);
  SessionOptions session_options = arguments.session;
  if (session_options.ctx == 0) session_options.ctx = arguments.options.n_ctx;
  LoadedModel session = open_session(session_options);
  if (session_options.verbose) print_banner(session);
  PerplexityOptions options = arguments.options;
  options.n_ctx = session.model->options().n_ctx;
  if (session.tokenizer->add_bos()) options.bos = session.tokenizer->bos();
  options.progress = [](int64_t done, int64_t total, double so_far) {
    if (stderr_is_terminal())
      note("\r\033[Kwindow {} of {}, perplexity {:.3f}{}", done, total, so_far, done == total ? "\r\033[K" : "");
    return !interrupted();
  };
  options.stop_now = interrupted;
  const PerplexityResult result =
      measure_perplexity(*session.model, session.tokenizer->encode(text, arguments.special), options);
  if (arguments.json)
    print_json(result);
  else
    print_text(result);
}

}  // namespace

void add_perplexity(CLI::App& app) {
  auto arguments = std::make_shared<PerplexityArguments>();
  CLI::App* command = app.add_subcommand("perplexity", "how well a model predicts a text");
  add_model_option(*command, arguments->session);
  add_session_options(*command, arguments->session);
  command->get_option("--ctx")->description("tokens per window (default 512)");
  command->add_option("--file,-f", arguments->file, "the text")->required();
  command->add_option("--windows", arguments->options.max_windows, "score only so many windows")
      ->transform(whole_number(1, int64_t(1) << 32));
  CLI::Option* save = command->add_option("--save-baseline", arguments->options.save_baseline,
                                          "store this model's predictions in a file");
  command->add_option("--baseline", arguments->options.baseline, "compare with stored predictions")->excludes(save);
  command->add_flag("--special", arguments->special,
                    "read control tokens in the text: of conversations with their marks");
  command->add_flag("--json", arguments->json, "print one JSON object instead of text");
  command->callback([arguments] { perplexity(*arguments); });
}

}  // namespace hearth::cli
