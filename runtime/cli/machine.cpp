// The machine that a plan is for: what the command line says of it, what is measured, what is assumed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "quant/error.h"
#include "runtime/cli/choice.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/plan.h"
#include "runtime/cli/resident_experts.h"
#include "runtime/cli/terminal.h"
#include "runtime/engine/loaded_model.h"
#include "runtime/eval/calibration.h"
#include "runtime/support/size_text.h"
#include "runtime/support/system_memory.h"

namespace hearth::cli {
namespace {

// Of what is not here to be measured: round figures of no machine in particular, and printed as assumed.
constexpr double kAssumedVram = 500e9, kAssumedPcie = 20e9, kAssumedDisk = 3e9;

// What the system says is available it does not like to give to the last byte.
uint64_t usable_ram() {
  return usable_memory() / 16 * 15;
}

Device::Memory gpu_memory() {
  const Gpu& gpu = open_gpu();
  return gpu.device ? gpu.device->memory() : Device::Memory{};
}

int threads_of(const PlanArguments& arguments) {
  return arguments.threads > 0 ? arguments.threads : default_threads();
}

// Of a GPU, where the plan has one.
MeasuredBandwidths measured(const PlanArguments& arguments, uint64_t model_key, bool with_gpu) {
  CalibrationInput input;
  input.machine = this_machine(threads_of(arguments));
  if (with_gpu) input.gpu_device = open_gpu().device;
  input.model = arguments.path;
  input.model_key = model_key;
  input.again = arguments.measure;
  input.progress = [](std::string_view what) {
    if (stderr_is_terminal()) note("\r\033[Kmeasuring {}", what);
  };
  const MeasuredBandwidths found = measured_bandwidths(input);
  if (stderr_is_terminal()) note("\r\033[K");
  return found;
}

void fill(double& value, Source& source, double given, double found, double assumed) {
  value = given > 0 ? given * 1e9 : found > 0 ? found : assumed;
  source = given > 0 ? Source::given : found > 0 ? Source::measured : Source::assumed;
}

}  // namespace

const char* source_name(Source source) {
  constexpr const char* kNames[] = {"given", "measured", "assumed"};
  return kNames[int(source)];
}

void add_plan_options(CLI::App& command, PlanArguments& a) {
  const auto speed = decimal_number(1e-3, 1e6);
  command.add_option("model", a.path, "the model's GGUF file; only its header is read")->required();
  command
      .add_option("--vram", a.vram,
                  "what is free on the GPU: 16G, 1.5G, 800M (G: 2^30 bytes, as cards are sold); 0: no GPU "
                  "(default: this machine's)")
      ->transform(memory_size());
  command.add_option("--gpu", a.gpu, "which GPU of this machine, by its number (default: the one with most memory)")
      ->transform(whole_number(0, 1023))
      ->type_name("INT");
  command.add_option("--ram", a.ram, "memory of the host's that may be filled (default: this machine's)")
      ->transform(memory_size());
  command
      .add_option("--ctx,-c", a.ctx,
                  "context in tokens, as 4096 or 4k; 0: the model's limit (default: the same, at most 32768)")
      ->transform(context_length());
  command.add_option("--parallel", a.n_sequences, "conversations at once, each with a whole context (default: 1)")
      ->transform(whole_number(1, 256));
  add_cache_type(command, a.cache_format);
  command.add_option("--ubatch", a.ubatch, kUbatchHelp)->transform(token_count(1, int64_t(1) << 16));
  command.add_option("--threads,-t", a.threads, "threads; 0: one per core (default: the same)")
      ->transform(whole_number(0, 1024));
  command.add_option("--resident-experts", a.resident_experts,
                     "exactly so many experts on the GPU, or such a share of all (0.25), instead of what fits");
  command.add_option("--vram-bandwidth", a.vram_gb_s, "GB/s of the GPU's memory (default: measured)")->transform(speed);
  command.add_option("--ram-bandwidth", a.ram_gb_s, "GB/s of the host's memory (default: measured)")->transform(speed);
  command.add_option("--pcie-bandwidth", a.pcie_gb_s, "GB/s from the host to the GPU (default: measured)")
      ->transform(speed);
  command.add_option("--disk-bandwidth", a.disk_gb_s, "GB/s of the disk (default: measured)")->transform(speed);
  command.add_flag("--measure", a.measure, "measure bandwidths again instead of taking what was measured before");
}

DescribedMachine described_machine(const PlanArguments& a, uint64_t model_key) {
  DescribedMachine d;
  if (a.gpu) {
    choose_gpu(*a.gpu);
    require(open_gpu().ops, ErrorKind::resource, "--gpu {}: {}", *a.gpu, open_gpu().why_not);
  }
  const Device::Memory gpu = gpu_memory();
  d.vram_here = gpu.total;
  d.ram_here = total_memory();
  d.machine.vram = a.vram.empty() ? gpu.free : parse_size(a.vram, "--vram");
  d.machine.ram = a.ram.empty() ? usable_ram() : parse_size(a.ram, "--ram");
  d.vram = a.vram.empty() ? Source::measured : Source::given;
  d.ram = a.ram.empty() ? Source::measured : Source::given;
  require(d.machine.ram > 0 || a.ram.empty(), ErrorKind::usage,
          "--ram: a model needs some memory of the host's: expected a size above 0, found \"{}\"", a.ram);
  require(d.machine.ram > 0, ErrorKind::usage, "--ram: expected a size, as this system does not say what it has");

  const bool with_gpu = d.machine.vram > 0;
  const bool all_given = a.ram_gb_s > 0 && a.disk_gb_s > 0 && (!with_gpu || (a.vram_gb_s > 0 && a.pcie_gb_s > 0));
  const MeasuredBandwidths found = all_given ? MeasuredBandwidths{} : measured(a, model_key, with_gpu);
  const Machine& here = found.machine;
  if (!all_given) d.measured_ago = double(std::max<int64_t>(std::time(nullptr) - found.since, 0));
  fill(d.machine.vram_bandwidth, d.vram_bandwidth, a.vram_gb_s, here.vram_bandwidth, kAssumedVram);
  fill(d.machine.ram_bandwidth, d.ram_bandwidth, a.ram_gb_s, here.ram_bandwidth, 0);
  fill(d.machine.pcie_bandwidth, d.pcie_bandwidth, a.pcie_gb_s, here.pcie_bandwidth, kAssumedPcie);
  fill(d.machine.disk_bandwidth, d.disk_bandwidth, a.disk_gb_s, here.disk_bandwidth, kAssumedDisk);
  return d;
}

PlacementInput placement_input(const PlanArguments& a, const Machine& machine, const ModelSizes& model) {
  PlacementInput in;
  in.machine = machine;
  in.n_ctx = a.ctx == kWholeContext ? model.config.context_length : a.ctx;
  in.n_sequences = a.n_sequences;
  in.cache_format = a.cache_format;
  in.ubatch = a.ubatch;
  in.n_threads = threads_of(a);
  in.staging_slots = -1;  // as the model will ask for
  in.gpu_scratch = open_gpu().ops ? scratch_of(*open_gpu().ops, *open_gpu().device) : estimated_gpu_scratch;
  in.cpu_scratch = scratch_of(cpu_ops("auto"), host_device());
  if (!a.resident_experts.empty()) in.resident_experts = parse_resident_experts(a.resident_experts, model.n_experts());
  return in;
}

}  // namespace hearth::cli
