// How tokens are chosen, as options of a command.
#include "runtime/cli/sampler_options.h"

#include <CLI/CLI.hpp>
#include <limits>

#include "runtime/cli/numbers.h"

namespace hearth::cli {

void add_sampler_options(CLI::App& command, SamplingChoices& choices) {
  constexpr int64_t kMostWhole = std::numeric_limits<int>::max();
  const auto add = [](CLI::Option* option, const CLI::Validator& number) {
    option->transform(number)->group("Sampling (what is not given, the model recommends)");
  };
  add(command.add_option("--temp", choices.temperature, "temperature; 0 always takes the likeliest token"),
      decimal_number(0, 100));
  add(command.add_option("--top-p", choices.top_p, "keep the likeliest tokens up to this total probability"),
      decimal_number(0, 1));
  add(command.add_option("--top-k", choices.top_k, "keep the k likeliest tokens; 0: all"), whole_number(0, kMostWhole));
  add(command.add_option("--min-p", choices.min_p, "drop tokens below this share of the best one's probability"),
      decimal_number(0, 1));
  add(command.add_option("--repeat-penalty", choices.repetition_penalty, "1: off"), decimal_number(0, 100));
  add(command.add_option("--repeat-window", choices.repetition_window, "how many last tokens the penalty looks at"),
      whole_number(0, kMostWhole));
  add(command.add_option("--frequency-penalty", choices.frequency_penalty,
                         "off a token's logit for each time that the answer has it; 0: off"),
      decimal_number(-2, 2));
  add(command.add_option("--presence-penalty", choices.presence_penalty,
                         "off a token's logit if the answer has it at all; 0: off"),
      decimal_number(-2, 2));
  add(command.add_option("--seed", choices.seed,
                         "the same seed gives the same text; random: another one each time (default)"),
      seed_number());
}

}  // namespace hearth::cli
