#include "runtime/report.h"

#include "kernels/cpu/backend.h"

namespace hearth {
namespace {

// Powers of ten, as disks and memory bandwidths are counted: "9.62 GB", "15.7 G".
std::string scaled(double value, const char* unit) {
  constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T"};
  size_t i = 0;
  for (; value >= 1000 && i + 1 < std::size(kPrefixes); ++i) value /= 1000;
  return fmt::format("{:.{}f} {}{}", value, i == 0 ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0, kPrefixes[i], unit);
}

}  // namespace

bool runs_on_gpu(const Model& model) {
  size_t total = 0, free = 0;
  model.options().ops->memory(&total, &free);
  return total > 0;
}

std::vector<Fact> startup_facts(const Model& model) {
  const ModelConfig& c = model.config();
  const ModelOptions& options = model.options();
  const InspectReport file = inspect(model.file());
  const bool on_gpu = runs_on_gpu(model);
  return {
      {"model", fmt::format("{}: {} parameters, {} active, {:.2f} bits per weight, {}",
                            c.name.empty() ? model.file().path() : c.name, scaled(double(file.n_parameters), ""),
                            scaled(double(file.n_active_parameters), ""), file.bits_per_weight,
                            scaled(double(file.file_bytes), "B"))},
      {"machine", cpu_description()},
      {"running", on_gpu ? fmt::format("{} operations", options.ops->name)
                         : fmt::format("{} operations, {} thread{}", options.ops->name, options.n_threads,
                                       options.n_threads == 1 ? "" : "s")},
      {"context",
       fmt::format("{} of {} tokens; latent cache in {}: {} when full, {} per token", options.n_ctx, c.context_length,
                   format_of(options.cache_format).name, scaled(double(model.cache_bytes()), "B"),
                   scaled(double(format_of(options.cache_format).bytes(c.cache_width()) * size_t(c.n_layers)), "B"))},
      {"memory", fmt::format("weights {} {}, {} read per token; working memory {}",
                             scaled(double(file.tensor_bytes), "B"), on_gpu ? "on the GPU" : "mapped",
                             scaled(double(model.active_bytes()), "B"), scaled(double(model.working_bytes()), "B"))},
  };
}

}  // namespace hearth
