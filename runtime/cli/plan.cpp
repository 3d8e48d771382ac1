// hearth plan MODEL.gguf: what would lie where on a machine, how fast it could decode, and what would help most.
#include "runtime/cli/plan.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "quant/error.h"
#include "runtime/cli/choice.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/plan_export.h"
#include "runtime/cli/session.h"
#include "runtime/cli/simulate.h"
#include "runtime/cli/smaller_recipe.h"
#include "runtime/cli/terminal.h"
#include "runtime/offload/decode_floor.h"
#include "runtime/offload/expert_stats.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {
namespace {

using nlohmann::ordered_json;

constexpr uint64_t kGiB = uint64_t(1) << 30;

// Of all experts that tokens use, how many are expected in that tier.
double expected_share(const Plan& plan, Tier tier) {
  double sum = 0;
  for (const LayerPlan& layer : plan.layers) sum += layer.share[int(tier)];
  return plan.layers.empty() ? 0 : sum / double(plan.layers.size());
}

// A change to the machine or the file, and the floor that it would give.
struct Help {
  std::string what;
  double tok_s = 0;
};

class Planned {
 public:
  explicit Planned(const PlanArguments& arguments)
      : arguments_(arguments),
        file_(GgufFile::open(arguments.path)),
        model_(model_sizes(file_)),
        known_(load_expert_stats(expert_stats_path(arguments.path), no_expert_stats(file_, model_.config))),
        described_(described_machine(arguments, model_key(file_))),
        plan_(plan_placement(model_, input(described_.machine))),
        floor_(floor_of(model_, plan_)) {
    for (const std::string& guess : model_.config.notes) note("hearth: {}: {}\n", file_.path(), guess);
    if (const std::string refusal = not_computed(file_, model_.config); !refusal.empty())
      note("hearth: {}: {}; it is planned for by its bytes and does not run here\n", arguments.path, refusal);
    if (!known_.why_not.empty()) note("hearth: {}\n", known_.why_not);
    look_for_help();
  }

  void print_text() const;
  void print_json() const;

 private:
  PlacementInput input(const Machine& machine) const {
    PlacementInput in = placement_input(arguments_, machine, model_);
    if (known_.stats) in.use = known_.stats->counts;
    return in;
  }
  // Tokens in the cache that the floor is of: half of the context.
  int64_t depth() const { return plan_.n_ctx / 2; }
  DecodeFloor floor_of(const ModelSizes& model, const Plan& plan) const {
    return decode_floor(model, plan, described_.machine, input(described_.machine).cache_format, depth());
  }

  // The floor of another machine, or of another file on this one; none: it does not fit there.
  std::optional<double> floor_with(const ModelSizes& model, uint64_t vram, uint64_t ram) const {
    Machine machine = described_.machine;
    machine.vram = vram;
    machine.ram = ram;
    PlacementInput in = input(machine);
    in.resident_experts.reset();
    try {
      return floor_of(model, plan_placement(model, in)).tok_s;
    } catch (const Error&) {
      return std::nullopt;
    }
  }
  void look_for_help();
  void add_help(std::string what, std::optional<double> tok_s) {
    if (tok_s) help_.push_back({std::move(what), *tok_s});
  }

  void print_tiers() const;
  void print_experts() const;
  struct PrefillCopies {
    double bytes = 0, seconds = 0, tok_s = 0;  // 0: there is nothing to copy
  };
  PrefillCopies prefill_copies() const;
  void print_speed() const;

  const PlanArguments& arguments_;
  GgufFile file_;
  ModelSizes model_;
  LoadedExpertStats known_;  // how often each expert was used in sessions before
  DescribedMachine described_;
  Plan plan_;
  DecodeFloor floor_;
  std::vector<Help> help_;  // the most helpful first
};

void Planned::look_for_help() {
  const uint64_t vram = described_.machine.vram, ram = described_.machine.ram;
  if (vram > 0 && !plan_.all_on_gpu) {
    double best = 0;
    for (const uint64_t more : {8, 24}) {
      const auto tok_s = floor_with(model_, vram + more * kGiB, ram);
      if (!tok_s || *tok_s < 1.01 * best) break;
      best = *tok_s;
      add_help(fmt::format("{} GiB more VRAM", more), tok_s);
    }
  }
  if (vram == 0) {  // the smallest usual card that it runs on
    for (const uint64_t card : {8, 12, 16, 24, 32, 48}) {
      const auto tok_s = floor_with(model_, card * kGiB, ram);
      if (!tok_s) continue;
      add_help(fmt::format("a GPU with {} GiB free", card), tok_s);
      break;
    }
  }
  if (plan_.disk.used() > 0) {
    constexpr uint64_t kStep = 16, kMost = 64;
    const uint64_t more = std::min((plan_.disk.used() / kGiB / kStep + 1) * kStep, kMost);
    add_help(fmt::format("{} GiB more RAM", more), floor_with(model_, vram, ram + more * kGiB));
  }
  if (const auto smaller = smaller_recipe(model_)) {
    add_help("recipe " + smaller->name, floor_with(smaller->model, vram, ram));
  }
  std::ranges::stable_sort(help_, std::greater<>(), &Help::tok_s);
}

// A plan may be for another machine, but it says so.
std::string budget_text(uint64_t budget, Source source, uint64_t here) {
  if (source != Source::given) return binary_size_text(budget) + " (free here)";
  if (budget <= here) return binary_size_text(budget) + " (given)";
  return fmt::format("{} (given; this machine has {})", binary_size_text(budget),
                     here ? binary_size_text(here) : "none");
}

// "just now", "5 minutes ago", "1 day ago"
std::string ago_text(double seconds) {
  const std::pair<double, const char*> units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}};
  for (const auto& [length, name] : units) {
    const auto n = int64_t(seconds / length);
    if (n > 0) return fmt::format("{} {}{} ago", n, name, n == 1 ? "" : "s");
  }
  return "just now";
}

std::string milliseconds_text(double seconds) {
  return fmt::format("{:.{}f} ms", 1e3 * seconds, seconds < 0.01 ? 2 : seconds < 0.1 ? 1 : 0);
}

void Planned::print_tiers() const {
  const auto cell = [](uint64_t bytes) { return bytes ? binary_size_text(bytes) : std::string("-"); };
  print("\n  {:16} {:>12} {:>12} {:>12}\n", "", "VRAM", "RAM", "disk");
  for (int i = 0; i < kMemoryClasses; ++i) {
    const size_t kind = size_t(i);
    const uint64_t vram = plan_.vram.classes.bytes[kind], ram = plan_.ram.classes.bytes[kind],
                   disk = plan_.disk.classes.bytes[kind];
    if (vram + ram + disk == 0) continue;
    print("  {:16} {:>12} {:>12} {:>12}\n", memory_class_name(MemoryClass(i)), cell(vram), cell(ram), cell(disk));
  }
  print("  {:16} {:>12} {:>12} {:>12}\n", "used", cell(plan_.vram.used()), cell(plan_.ram.used()),
        cell(plan_.disk.used()));
  print("  {:16} {:>12} {:>12}\n", "budget", cell(plan_.vram.budget), cell(plan_.ram.budget));
}

// Layers with the same numbers in one line.
void Planned::print_experts() const {
  if (plan_.layers.empty()) return;
  const auto numbers = [&](size_t l) {
    const LayerPlan& layer = plan_.layers[l];
    return std::array{layer.count(Tier::vram), layer.count(Tier::ram), layer.count(Tier::disk)};
  };
  const int64_t E = model_.config.n_routed_experts;
  const auto share = [&](Tier tier) { return fmt::format("{:.1f} %", 100 * expected_share(plan_, tier)); };
  print("\n  {:16} {:>12} {:>12} {:>12}\n", fmt::format("experts, of {}", E), "VRAM", "RAM", "disk");
  for (size_t first = 0, end = 0; first < plan_.layers.size(); first = end) {
    while (end < plan_.layers.size() && numbers(end) == numbers(first)) ++end;
    const int64_t from = plan_.layers[first].layer, to = plan_.layers[end - 1].layer;
    const auto [vram, ram, disk] = numbers(first);
    print("  {:16} {:>12} {:>12} {:>12}\n",
          from == to ? fmt::format("layer {}", from) : fmt::format("layers {} to {}", from, to), vram, ram, disk);
  }
  print("  {:16} {:>12} {:>12} {:>12}\n", "of uses", share(Tier::vram), share(Tier::ram), share(Tier::disk));
  if (known_.stats) print("  {:16} those of {:.0f} tokens so far\n", "", known_.stats->tokens);
}

// All experts that are not on the GPU go there once for each ubatch, if a prompt uses them all.
Planned::PrefillCopies Planned::prefill_copies() const {
  PrefillCopies copies;
  if (!plan_.has_gpu || plan_.all_on_gpu || described_.machine.pcie_bandwidth <= 0) return copies;
  copies.bytes = double(plan_.ram.classes[MemoryClass::experts] + plan_.disk.classes[MemoryClass::experts]);
  if (copies.bytes == 0) return copies;
  copies.seconds = copies.bytes / described_.machine.pcie_bandwidth;
  copies.tok_s = double(plan_.ubatch) / copies.seconds;
  return copies;
}

void Planned::print_speed() const {
  const Machine& m = described_.machine;
  const auto speed = [](const char* what, double bandwidth, Source source) {
    return fmt::format("{} {} ({})", what, figure_text(bandwidth / 1e9), source_name(source));
  };
  std::string speeds = speed("RAM", m.ram_bandwidth, described_.ram_bandwidth);
  if (plan_.has_gpu) {
    speeds = speed("VRAM", m.vram_bandwidth, described_.vram_bandwidth) + ", " + speeds + ", " +
             speed("to the GPU", m.pcie_bandwidth, described_.pcie_bandwidth);
  }
  print("\n  {:16} {}, {}\n", "GB/s", speeds, speed("disk", m.disk_bandwidth, described_.disk_bandwidth));
  if (speeds.find(source_name(Source::measured)) != std::string::npos)
    print("  {:16} measured {}; --measure does it again\n", "", ago_text(described_.measured_ago));
  print("  {:16} at most {} tok/s with {} tokens in the cache\n", "decode", figure_text(floor_.tok_s), depth());
  const auto part = [](const char* where, double bytes, double seconds) {
    if (bytes > 0) print("  {:16} {} from {} in {}\n", "", decimal_size_text(bytes), where, milliseconds_text(seconds));
  };
  part("VRAM", floor_.vram_bytes, floor_.vram_seconds);
  part("RAM", floor_.ram_bytes, floor_.ram_seconds);
  part("disk", floor_.disk_bytes, floor_.disk_seconds);
  if (const PrefillCopies copies = prefill_copies(); copies.bytes > 0) {
    print(
        "  {:16} {} tokens at once: experts that are not on the GPU, {}, cross to it in {}, so at most {} tok/s that "
        "way\n",
        "prompts", plan_.ubatch, decimal_size_text(copies.bytes), milliseconds_text(copies.seconds),
        figure_text(copies.tok_s));
  }
  const char* label = "would help";
  for (const Help& help : help_) {
    const bool helps = help.tok_s > 1.005 * floor_.tok_s;
    print("  {:16} {}: {}\n", label, help.what,
          helps ? fmt::format("{} -> {} tok/s", figure_text(floor_.tok_s), figure_text(help.tok_s))
                : std::string("no difference"));
    label = "";
  }
}

void Planned::print_text() const {
  const ModelConfig& c = model_.config;
  print("{}: {}, {} of weights\n", arguments_.path, c.name.empty() ? "a model without a name" : c.name,
        binary_size_text(model_.fixed.total() + model_.stacked_experts));
  print("  {:16} {} tokens, cache in {}, ubatch {}\n", "context", plan_.n_ctx, cache_type_name(arguments_.cache_format),
        plan_.ubatch);
  print("  {:16} VRAM {}, RAM {}\n", "machine",
        plan_.has_gpu ? budget_text(plan_.vram.budget, described_.vram, described_.vram_here) : "none",
        budget_text(plan_.ram.budget, described_.ram, described_.ram_here));
  print_tiers();
  print_experts();
  print_speed();
}

ordered_json json_of(const TierPlan& tier) {
  ordered_json classes = ordered_json::object();
  for (int i = 0; i < kMemoryClasses; ++i) {
    if (const uint64_t bytes = tier.classes.bytes[size_t(i)]) classes[memory_class_name(MemoryClass(i))] = bytes;
  }
  return {{"budget", tier.budget}, {"used", tier.used()}, {"classes", classes}};
}

void Planned::print_json() const {
  ordered_json layers = ordered_json::array(), slots = ordered_json::array(), help = ordered_json::array();
  for (const LayerPlan& layer : plan_.layers)
    layers.push_back({{"layer", layer.layer},
                      {"vram", layer.count(Tier::vram)},
                      {"ram", layer.count(Tier::ram)},
                      {"disk", layer.count(Tier::disk)}});
  for (const SlotClass& s : plan_.slots) slots.push_back({{"bytes", s.bytes}, {"count", s.n_slots}});
  for (const Help& h : help_) help.push_back({{"change", h.what}, {"decode_tok_s", h.tok_s}});
  const auto speed = [](double bandwidth, Source source) {
    return ordered_json{{"gb_s", bandwidth / 1e9}, {"source", source_name(source)}};
  };
  const Machine& m = described_.machine;
  const ordered_json object = {
      {"file", arguments_.path},
      {"model", model_.config.name},
      {"context", plan_.n_ctx},
      {"cache_type", cache_type_name(arguments_.cache_format)},
      {"ubatch", plan_.ubatch},
      {"vram", json_of(plan_.vram)},
      {"ram", json_of(plan_.ram)},
      {"disk", json_of(plan_.disk)},
      {"all_on_gpu", plan_.all_on_gpu},
      {"experts_resident", plan_.n_resident()},
      {"experts", int64_t(plan_.layers.size()) * model_.config.n_routed_experts},
      {"tokens_known", known_.stats ? known_.stats->tokens : 0},
      {"expected_share",
       {{"vram", expected_share(plan_, Tier::vram)},
        {"ram", expected_share(plan_, Tier::ram)},
        {"disk", expected_share(plan_, Tier::disk)}}},
      {"layers", layers},
      {"slots", slots},
      {"bandwidth",
       {{"vram", speed(m.vram_bandwidth, described_.vram_bandwidth)},
        {"ram", speed(m.ram_bandwidth, described_.ram_bandwidth)},
        {"pcie", speed(m.pcie_bandwidth, described_.pcie_bandwidth)},
        {"disk", speed(m.disk_bandwidth, described_.disk_bandwidth)}}},
      {"bandwidth_age_s", described_.measured_ago},
      {"bytes_per_token", {{"vram", floor_.vram_bytes}, {"ram", floor_.ram_bytes}, {"disk", floor_.disk_bytes}}},
      {"depth", depth()},
      {"decode_tok_s", floor_.tok_s},
      {"prefill_copies", prefill_copies().bytes},
      {"prefill_copies_tok_s", prefill_copies().tok_s},
      {"would_help", help},
  };
  print("{}\n", object.dump(2, ' ', false, ordered_json::error_handler_t::replace));
}

// The plan for an export is of other machines.
void refuse_options_of_a_machine(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    const bool has_a_part = name == "model" || name == "--export" || name == "--ctx" || name == "--json";
    require(option->count() == 0 || has_a_part, ErrorKind::usage,
            "plan --export is about other machines: {} has no part in it", name);
  }
}

}  // namespace

void add_plan(CLI::App& app) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = app.add_subcommand("plan", "what would lie where, on this machine or any other");
  add_plan_options(*command, *arguments);
  command->add_flag("--json", arguments->json, "print one JSON object instead of text");
  command->add_flag("--export", arguments->exported,
                    "for vLLM or SGLang elsewhere: what each form of hearth export weighs, on how many GPUs");
  auto simulation = std::make_shared<SimulateArguments>();
  CLI::Option* simulate = add_simulate_options(*command, *simulation);
  CLI::Option* model = command->get_option("model")->required(false);
  simulate->excludes(model);
  command->callback([command, arguments, simulation, model, simulate] {
    if (arguments->exported) refuse_options_of_a_machine(*command);
    if (simulate->count() > 0) {
      simulation->json = arguments->json;
      simulate_command(*simulation, described_machine(*arguments).machine);
      return;
    }
    require(model->count() > 0, ErrorKind::usage, "plan: which model? (see: hearth plan --help)");
    if (arguments->exported) return plan_export_command(*arguments);
    const Planned planned(*arguments);
    arguments->json ? planned.print_json() : planned.print_text();
  });
}

}  // namespace hearth::cli
