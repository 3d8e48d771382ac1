// What `hearth plan` and what is built upon it share: a model file, a machine in words, and the two put together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/offload/machine.h"
#include "runtime/offload/placement.h"

namespace CLI {
class App;
}

namespace hearth::cli {

struct PlanArguments {
  std::string path;
  std::string vram, ram;                                             // empty: this machine's
  std::optional<int> gpu;                                            // none: the one with the most memory
  double vram_gb_s = 0, ram_gb_s = 0, pcie_gb_s = 0, disk_gb_s = 0;  // 0: measured here, or assumed
  int64_t ctx = 0, ubatch = kAutomaticUbatch;
  int threads = 0;
  int64_t n_sequences = 1;
  FormatId cache_format = FormatId::bf16;
  std::string resident_experts;
  bool measure = false;  // anew, whatever is kept
  bool json = false;
  bool exported = false;  // as a checkpoint on other machines (plan_export.h)
};

void add_plan_options(CLI::App& command, PlanArguments& arguments);

// Where a figure of a machine comes from.
enum class Source { given, measured, assumed };
const char* source_name(Source source);

struct DescribedMachine {
  Machine machine;
  uint64_t vram_here = 0, ram_here = 0;                    // what this machine has; 0: none, or not known
  Source vram = Source::measured, ram = Source::measured;  // budgets
  Source vram_bandwidth = Source::given, ram_bandwidth = Source::given, pcie_bandwidth = Source::given,
         disk_bandwidth = Source::given;
  double measured_ago = 0;  // seconds; the oldest of the measured bandwidths
};

// Budgets that are not given are this machine's; bandwidths are measured here (once: runtime/eval/calibration.h), and
// those of what is not here are assumed. What was seen of the model of that key counts; 0: of none. Throws
// Error(usage).
DescribedMachine described_machine(const PlanArguments& arguments, uint64_t model_key = 0);

PlacementInput placement_input(const PlanArguments& arguments, const Machine& machine, const ModelSizes& model);

}  // namespace hearth::cli
