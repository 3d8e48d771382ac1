#include "runtime/eval/report.h"

#include <algorithm>

#include "kernels/cpu/backend.h"
#include "runtime/offload/expert_cache.h"
#include "runtime/offload/hybrid.h"
#include "runtime/offload/placement.h"
#include "runtime/support/size_text.h"
#include "runtime/support/system_memory.h"

namespace hearth {
std::string model_line(const Model& model) {
  const InspectReport file = inspect(model.file());
  const std::string& name = model.config().name;
  return fmt::format("{}: {} parameters, {}, context of {} tokens", name.empty() ? model.file().path() : name,
                     count_text(double(file.n_parameters)), decimal_size_text(double(file.file_bytes)),
                     model.options().n_ctx);
}

std::string running_line(const Model& model) {
  const ModelOptions& options = model.options();
  const std::string cpu = fmt::format("{}, {} thread{}", options.host_ops ? options.host_ops->name : options.ops->name,
                                      options.n_threads, options.n_threads == 1 ? "" : "s");
  if (!runs_on_gpu(model)) return fmt::format("running on the CPU ({})", cpu);
  if (model.plan().all_on_gpu) return "running on the GPU";
  return fmt::format("running on the GPU, with experts on the CPU ({})", cpu);
}

std::vector<Fact> startup_facts(const Model& model) {
  const ModelConfig& c = model.config();
  const ModelOptions& options = model.options();
  const InspectReport file = inspect(model.file());
  const bool on_gpu = runs_on_gpu(model);
  return {
      {"model", fmt::format("{}: {} parameters, {} active, {:.2f} bits per weight, {}",
                            c.name.empty() ? model.file().path() : c.name, count_text(double(file.n_parameters)),
                            count_text(double(file.n_active_parameters)), file.bits_per_weight,
                            decimal_size_text(double(file.file_bytes)))},
      {"machine", cpu_description()},
      {"running", on_gpu ? fmt::format("{} operations", options.ops->name)
                         : fmt::format("{} operations, {} thread{}", options.ops->name, options.n_threads,
                                       options.n_threads == 1 ? "" : "s")},
      {"context",
       fmt::format(
           "{} of {} tokens; latent cache in {}: {} when full, {} per token", options.n_ctx, c.context_length,
           format_of(options.cache_format).name, decimal_size_text(double(model.cache_bytes())),
           decimal_size_text(double(format_of(options.cache_format).bytes(c.cache_width()) * size_t(c.n_layers))))},
      {"memory",
       fmt::format("weights {} {}, {} read per token; working memory {}", decimal_size_text(double(file.tensor_bytes)),
                   on_gpu ? "on the GPU" : "mapped", decimal_size_text(double(model.active_bytes())),
                   decimal_size_text(double(model.working_bytes())))},
  };
}

namespace {

// "layers 1 to 26: 31 or 32 of 64"
std::string residents_text(const Plan& plan) {
  int64_t least = plan.layers.front().count(Tier::vram), most = least;
  for (const LayerPlan& layer : plan.layers) {
    least = std::min(least, layer.count(Tier::vram));
    most = std::max(most, layer.count(Tier::vram));
  }
  const size_t n_experts = plan.layers.front().tier.size();
  return least == most ? fmt::format("{} of {} in every layer", least, n_experts)
                       : fmt::format("{} to {} of {} in a layer", least, most, n_experts);
}

}  // namespace

std::vector<Fact> tier_facts(const Model& model) {
  const Plan& plan = model.plan();
  if (plan.layers.empty()) return {};
  const uint64_t on_gpu = plan.vram.classes[MemoryClass::experts];
  const uint64_t in_memory = plan.ram.classes[MemoryClass::experts], on_disk = plan.disk.classes[MemoryClass::experts];
  std::string where = fmt::format("{} on the GPU ({})", decimal_size_text(double(on_gpu)), residents_text(plan));
  if (in_memory > 0) where += fmt::format(", {} in memory", decimal_size_text(double(in_memory)));
  if (on_disk > 0) where += fmt::format(", {} on disk", decimal_size_text(double(on_disk)));
  return {{"experts", where},
          {"vram", fmt::format("{} of {} used as planned", binary_size_text(plan.vram.used()),
                               binary_size_text(plan.vram.budget))}};
}

std::vector<Fact> expert_report(const Model& model) {
  if (!model.hybrid()) return {};
  const HybridCounts& c = model.hybrid()->counts();
  const CacheCounts& cache = model.expert_cache()->counts();
  const double chosen = double(std::max<uint64_t>(c.chosen, 1));
  const auto rate = [](uint64_t bytes, double seconds) {
    return seconds > 0 ? ", " + decimal_size_text(double(bytes) / seconds) + "/s" : std::string();
  };
  const double seconds = model.running_seconds();
  return {
      {"experts", fmt::format("of {} choices {:.1f} % were on the GPU and {:.1f} % were copied there for a prompt",
                              c.chosen, 100 * double(c.on_gpu) / chosen, 100 * double(c.staged) / chosen)},
      {"gpu", fmt::format("read {} of resident experts{}", decimal_size_text(double(c.gpu_bytes)),
                          rate(c.gpu_bytes, seconds))},
      {"cpu", fmt::format("read {} of experts{}, {:.0f} % of the time", decimal_size_text(double(c.host_bytes)),
                          rate(c.host_bytes, c.host_seconds), seconds > 0 ? 100 * c.host_seconds / seconds : 0)},
      {"copies", fmt::format("{} experts moved in, {}{}; {} for prompts", cache.swaps,
                             decimal_size_text(double(cache.bytes_moved)), rate(cache.bytes_moved, cache.copy_seconds),
                             decimal_size_text(double(c.staged_bytes)))},
      {"disk", fmt::format("read {} since the start", decimal_size_text(double(bytes_from_disk())))},
  };
}

WeightPlaces weight_places(const Model& model, uint64_t usable) {
  const Plan& plan = model.plan();
  if (plan.layers.empty()) {
    const uint64_t all = inspect(model.file()).tensor_bytes;
    const uint64_t held = usable == 0 ? all : std::min(all, usable);
    return {.memory = held, .disk = all - held};
  }
  const auto weights = [](const TierPlan& tier) {
    uint64_t sum = 0;
    for (int kind = int(MemoryClass::attention); kind < kMemoryClasses; ++kind) sum += tier.classes[MemoryClass(kind)];
    return sum;
  };
  return {weights(plan.vram), weights(plan.ram), weights(plan.disk)};
}

}  // namespace hearth
