#include "runtime/offload/decode_floor.h"

#include <algorithm>
#include <cmath>

namespace hearth {
namespace {

// What a part of a token's work reads from each tier.
struct Reads {
  double vram = 0, ram = 0, disk = 0;

  void operator+=(const Reads& r) {
    vram += r.vram;
    ram += r.ram;
    disk += r.disk;
  }
};

double seconds(double bytes, double bandwidth) {
  return bytes == 0 ? 0 : bytes / bandwidth;  // infinite where the bandwidth is not known
}

// Everything but the experts of MoE layers; the embedding is one row of a table.
Reads read_always(const ModelSizes& model, const Plan& plan, double cache_bytes) {
  double bytes = double(model.decode_bytes) + cache_bytes;
  for (const ExpertLayer& layer : model.experts) bytes -= double(layer.shared_bytes);
  if (plan.has_gpu) return {.vram = bytes};
  double from_disk = 0;
  for (int i = int(MemoryClass::attention); i < int(MemoryClass::embedding); ++i) {
    from_disk += double(plan.disk.classes.bytes[size_t(i)]);
  }
  return {.ram = bytes, .disk = std::min(from_disk, bytes)};
}

Reads read_experts(const ModelSizes& model, const Plan& plan, size_t l) {
  const ExpertLayer& sizes = model.experts[l];
  const LayerPlan& layer = plan.layers[l];
  const double routed = double(model.config.routing.n_activated) * double(sizes.expert_bytes);
  const double here = layer.share[int(Tier::vram)], missing = layer.share[int(Tier::disk)];
  Reads reads{.vram = routed * here, .ram = routed * std::max(0.0, 1 - here), .disk = routed * missing};
  if (layer.count(Tier::vram) == int64_t(layer.tier.size())) reads.ram = 0;  // what shares lost by rounding
  (plan.has_gpu ? reads.vram : reads.ram) += double(sizes.shared_bytes);
  return reads;
}

}  // namespace

DecodeFloor decode_floor(const ModelSizes& model, const Plan& plan, const Machine& machine, FormatId cache_format,
                         int64_t depth) {
  const ModelConfig& c = model.config;
  const double cache_bytes = double(depth * c.n_layers) * double(format_of(cache_format).bytes(c.cache_width()));
  const auto time = [&](const Reads& r) {
    return std::max(seconds(r.vram, machine.vram_bandwidth),
                    seconds(r.ram, machine.ram_bandwidth) + seconds(r.disk, machine.disk_bandwidth));
  };
  Reads all = read_always(model, plan, cache_bytes);
  double total = time(all);
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const Reads reads = read_experts(model, plan, l);
    total += time(reads);
    all += reads;
  }
  DecodeFloor floor{.vram_bytes = all.vram, .ram_bytes = all.ram, .disk_bytes = all.disk};
  if (!std::isfinite(total)) return floor;
  floor.tok_s = 1 / total;
  floor.vram_seconds = seconds(all.vram, machine.vram_bandwidth);
  floor.ram_seconds = seconds(all.ram, machine.ram_bandwidth);
  floor.disk_seconds = seconds(all.disk, machine.disk_bandwidth);
  return floor;
}

}  // namespace hearth
