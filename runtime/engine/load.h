// Opening a model: where it runs, with which kernels and how much memory, what earlier runs left, and the way back from
// a GPU that will not do to the CPU.
//
// Nothing is printed here. What a person is to be told comes through LoadListener, while it happens: a note stands
// before the error that may follow it, which notes handed over at the end could not do. The texts name options as the
// command line has them ("--vram"): whichever program asks, those are the words in which people choose.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/engine/loaded_model.h"
#include "runtime/offload/placement.h"

namespace hearth {

// Where a model runs; automatic: on the GPU where there is one.
enum class DeviceChoice { automatic, cpu, gpu };

struct LoadOptions {
  std::string path;  // the model's GGUF file
  DeviceChoice device = DeviceChoice::automatic;
  std::optional<int> gpu;      // its number; none: the one with the most memory
  std::string isa = "auto";    // the name of a table (kernels/cpu/backend.h); one that is named is the CPU
  int threads = 0;             // 0: one per core
  int64_t n_ctx = 0;           // 0: the model's limit, at most 32768
  bool whole_context = false;  // the model's limit, however much that is
  int64_t n_sequences = 1;     // ModelOptions::n_sequences
  int64_t ubatch = kAutomaticUbatch;
  FormatId cache_format = FormatId::bf16;
  std::optional<uint64_t> vram, ram;  // budgets in bytes; none: what is free
  // How many experts are to be on the GPU, of all that the model has; empty: as many as fit. A function, as a share of
  // them can only be counted when the file is open, and what people ask for is refused with that number. What it throws
  // ends the loading.
  std::function<int64_t(int64_t all)> resident_experts = {};
  PrefillPolicy prefill = PrefillPolicy::automatic;
  ExpertPolicy expert_policy = ExpertPolicy::adaptive;
  bool record_steps = true;   // ModelOptions::record_steps
  bool reproducible = false;  // ModelOptions::reproducible
  bool strict = false;        // a fallback is an error
  bool needs_text = true;     // without text a file needs no vocabulary
  RoutingListener routed = {};
  InputListener* inputs = nullptr;  // ModelOptions::inputs; the device is to be the CPU
};

struct LoadProgress {
  std::string_view title;        // "reading" or "loading"
  uint64_t done = 0, total = 0;  // bytes
  std::string_view what;         // the file; the GPU
};

// All on the thread that loads; none is needed.
struct LoadListener {
  // One line for each thing that will be slow or was guessed: no AVX2, more threads than cores, a device that is not
  // there, a model larger than memory.
  std::function<void(std::string_view text)> note = {};
  std::function<void(const LoadProgress& progress)> progress = {};
  std::function<void()> progress_over = {};  // and nothing of it is to stay
  // The header has refused nothing, and no weight was looked at so far. What it throws ends the loading.
  std::function<void(const GgufFile& file)> header_read = {};
  // Asked between pieces of work of some tens of milliseconds: what it throws ends the loading. For Ctrl-C.
  std::function<void()> check = {};
};

// Opens and checks everything. Throws what the file, the kernels and the Model do, and: Error(resource) for a fallback
// under `strict`, for budgets beyond what the machine has; Error(usage) for what only a GPU could heed.
LoadedModel load_model(const LoadOptions& options, const LoadListener& listener = {});

}  // namespace hearth
