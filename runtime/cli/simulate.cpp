#include "runtime/cli/simulate.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "quant/error.h"
#include "runtime/cli/terminal.h"
#include "runtime/eval/expert_plots.h"
#include "runtime/eval/simulate.h"
#include "runtime/offload/expert_stats.h"
#include "runtime/support/size_text.h"
#include "runtime/support/text_file.h"

namespace hearth::cli {
namespace {

using nlohmann::ordered_json;

ordered_json json_of(const ExpertTrace& trace, const Simulation& s) {
  ordered_json sizes = ordered_json::array();
  for (const SimulatedSize& size : s.sizes) {
    ordered_json policies = ordered_json::object();
    for (const SimulatedPolicy& policy : size.policies) {
      ordered_json& one = policies[policy.name];
      one = {{"hit_rate", policy.hit_rate}, {"bytes_copied", policy.bytes_copied}};
      if (policy.tok_s > 0) one["tok_s"] = policy.tok_s;
      if (policy.bytes_from_disk > 0) one["bytes_from_disk"] = policy.bytes_from_disk;
    }
    sizes.push_back({{"share", size.share}, {"experts", size.n_slots}, {"bytes", size.bytes}, {"policies", policies}});
  }
  ordered_json object = {{"model", trace.shape.model},
                         {"decoded", s.n_decoded},
                         {"prompt_slices", s.n_slices},
                         {"expert_bytes", s.all_expert_bytes},
                         {"static_in_hindsight", s.static_in_hindsight},
                         {"sizes", std::move(sizes)}};
  if (s.vram_share) object["vram_share"] = *s.vram_share;
  return object;
}

void print_machine(const Machine& m) {
  const auto speed = [](double bandwidth) {
    return bandwidth > 0 ? fmt::format("{:.4g} GB/s", bandwidth / 1e9) : std::string("unknown");
  };
  print("  VRAM {} at {}, RAM {} at {}, bus {}, disk {}\n", m.vram > 0 ? binary_size_text(m.vram) : "none",
        speed(m.vram_bandwidth), m.ram > 0 ? binary_size_text(m.ram) : "unlimited", speed(m.ram_bandwidth),
        speed(m.pcie_bandwidth), speed(m.disk_bandwidth));
}

// For each size and policy: experts found, and tokens per second where they can be told.
void print_table(const Simulation& s) {
  print("\n  {:>7} {:>7} {:>11}", "experts", "", "");
  for (const SimulatedPolicy& policy : s.sizes.front().policies) print("  {:>16}", policy.name);
  print("\n  {:>7} {:>7} {:>11}", "of all", "number", "memory");
  for (size_t i = 0; i < s.sizes.front().policies.size(); ++i) print("  {:>7} {:>8}", "found", "tok/s");
  print("\n");
  for (const SimulatedSize& size : s.sizes) {
    print("  {:>5.1f} % {:>7} {:>11}", 100 * size.share, size.n_slots, binary_size_text(size.bytes));
    for (const SimulatedPolicy& policy : size.policies)
      print("  {:>5.1f} % {:>8}", 100 * policy.hit_rate,
            policy.tok_s > 0 ? fmt::format("{:.{}f}", policy.tok_s, policy.tok_s < 100 ? 2 : 0) : "-");
    print("{}\n", s.vram_share && size.share == *s.vram_share ? "  <- the GPU's memory" : "");
  }
  if (s.static_in_hindsight)
    print(
        "\n  static: the experts that this very recording uses most (in hindsight; --stats FILE to begin with "
        "others)\n");
  print("  optimum: knows what comes; its copies are free\n");
}

}  // namespace

CLI::Option* add_simulate_options(CLI::App& command, SimulateArguments& arguments) {
  CLI::Option* simulate =
      command.add_option("--simulate", arguments.trace, "replay a recording (hearth run --record-experts) instead");
  command
      .add_option("--plot", arguments.plot,
                  "with --simulate: write an SVG of hit rate against cache size; -: to standard output")
      ->needs(simulate);
  command.add_option("--stats", arguments.stats, "with --simulate: begin with these statistics of experts")
      ->needs(simulate);
  command
      .add_flag("--token-by-token", arguments.token_by_token,
                "with --simulate: take the prompt as if it had been decoded")
      ->needs(simulate);
  return simulate;
}

void simulate_command(const SimulateArguments& arguments, const Machine& machine) {
  ExpertTrace trace = read_expert_trace(arguments.trace);
  if (arguments.token_by_token) trace = token_by_token(trace);
  SimulationInput input{machine, {}, 0, usual_shares()};
  if (!arguments.stats.empty()) {
    ExpertStats stats = read_expert_stats(arguments.stats);
    require(stats.n_layers == trace.shape.n_layers && stats.n_experts == trace.shape.n_experts, ErrorKind::usage,
            "{}: expected {} layers of {} experts, found {} of {}", arguments.stats, trace.shape.n_layers,
            trace.shape.n_experts, stats.n_layers, stats.n_experts);
    input.counts = std::move(stats.counts);
    input.tokens = stats.tokens;
  }
  const Simulation simulation = simulate(trace, input);
  if (!arguments.plot.empty()) {
    const std::string of = fmt::format("{}, {} decoded tokens", trace.shape.model, simulation.n_decoded);
    write_text_file(arguments.plot, plot_hit_rates(simulation, of));
    if (arguments.plot == "-") return;  // the picture alone
  }
  if (arguments.json) {
    print("{}\n", json_of(trace, simulation).dump(-1, ' ', false, ordered_json::error_handler_t::replace));
    return;
  }
  print("{}: {}, {} decoded tokens, {} slices of prompts\n", arguments.trace, trace.shape.model, simulation.n_decoded,
        simulation.n_slices);
  print_machine(machine);
  print_table(simulation);
}

}  // namespace hearth::cli
