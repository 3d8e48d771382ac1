#include "runtime/engine/load.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "quant/error.h"
#include "runtime/model/kv_layout.h"
#include "runtime/model/read_config.h"
#include "runtime/model/weights.h"
#include "runtime/offload/expert_stats.h"
#include "runtime/offload/model_sizes.h"
#include "runtime/support/seconds_since.h"
#include "runtime/support/size_text.h"
#include "runtime/support/system_memory.h"
#include "runtime/tokenizer/tokenizer_vocabulary.h"

namespace hearth {
namespace {

// For budgets that are to be this machine's. `has` 0: not known, and anything goes.
void require_within(std::string_view option, uint64_t asked, uint64_t has, std::string_view of_what) {
  require(has == 0 || asked <= has, ErrorKind::resource, "{}: expected at most the {} of {}, found {}", option,
          binary_size_text(has), of_what, binary_size_text(asked));
}

class Loader {
 public:
  Loader(const LoadOptions& options, const LoadListener& listener) : options_(options), listener_(listener) {}

  LoadedModel load() {
    const auto start = std::chrono::steady_clock::now();
    ModelOptions model_options = {.n_threads = choose_threads(),
                                  .n_ctx = options_.n_ctx,
                                  .n_sequences = options_.n_sequences,
                                  .cache_format = options_.cache_format,
                                  .ubatch = options_.ubatch,
                                  .routed = options_.routed,
                                  .reproducible = options_.reproducible,
                                  .inputs = options_.inputs,
                                  .record_steps = options_.record_steps};
    GgufFile file = open_file();
    refuse_by_header(file);
    if (options_.whole_context) model_options.n_ctx = read_config(file).context_length;
    if (listener_.header_read) listener_.header_read(file);
    if (const Gpu* gpu = choose_gpu()) {
      loaded_.model = onto_gpu(std::move(file), model_options, *gpu);
      loaded_.statistics_path = expert_stats_path(options_.path);
      if (loaded_.model && loaded_.model->hybrid()) read(loaded_.model->file());  // the CPU's experts are read there
      if (loaded_.model) {
        say_what_falls_short();
      } else {
        loaded_.why_not_gpu = "too small";
        file = open_file();
      }
    }
    if (!loaded_.model) onto_cpu(std::move(file), model_options);
    loaded_.load_seconds = seconds_since(start);
    return std::move(loaded_);
  }

 private:
  template <class... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) const {
    if (listener_.note) listener_.note(fmt::format(format, std::forward<Args>(args)...));
  }
  void check() const {
    if (listener_.check) listener_.check();
  }
  void show(const LoadProgress& progress) const {
    if (listener_.progress) listener_.progress(progress);
  }
  void over() const {
    if (listener_.progress_over) listener_.progress_over();
  }

  int choose_threads() const {
    const int cores = default_threads();
    if (options_.threads > cores)
      note("{} threads on {} core{}: more threads than cores are slower than --threads {}", options_.threads, cores,
           cores == 1 ? "" : "s", cores);
    return options_.threads > 0 ? options_.threads : cores;
  }

  GgufFile open_file() {
    GgufFile file = GgufFile::open(options_.path);
    if (options_.needs_text) loaded_.tokenizer = std::make_unique<Tokenizer>(file.metadata());
    return file;
  }

  // What the header alone tells is told before the whole file is read.
  void refuse_by_header(const GgufFile& file) const {
    const ModelConfig config = read_config(file);
    const auto guessed = [&](const std::vector<std::string>& guesses) {
      for (const std::string& guess : guesses) note("{}: {}", file.path(), guess);
    };
    guessed(config.notes);
    const std::string refusal = not_computed(file, config);
    require(refusal.empty(), ErrorKind::model, "{}: {}", file.path(), refusal);
    if (const std::string layout = kv_layout_note(file, config); !layout.empty()) note("{}: {}", file.path(), layout);
    if (options_.needs_text) guessed(vocabulary_guesses(file.metadata()));
  }

  // The GPU, or null for the CPU: because it was asked for (by its name, or by that of one of its tables),
  // or because there is no GPU. One that was named and is not there is missed loudly, or fails under `strict`.
  const Gpu* choose_gpu() {
    const bool automatic = options_.device == DeviceChoice::automatic && !options_.gpu;
    require(!options_.gpu || options_.device != DeviceChoice::cpu, ErrorKind::usage,
            "--gpu {}: the model is to run on the CPU", options_.gpu.value_or(0));
    if (options_.device == DeviceChoice::cpu || (automatic && options_.isa != "auto")) return nullptr;
    if (options_.gpu) hearth::choose_gpu(*options_.gpu);
    const Gpu& gpu = open_gpu();
    (gpu.ops ? loaded_.gpu : loaded_.why_not_gpu) = gpu.ops ? gpu.description : gpu.why_not;
    if (gpu.ops) {
      if (!gpu.slow_start.empty()) note("{}", gpu.slow_start);
      return &gpu;
    }
    if (automatic) return nullptr;
    const std::string asked =
        options_.gpu ? fmt::format("--gpu {}", *options_.gpu) : fmt::format("--device {}", gpu_name());
    require(!options_.strict, ErrorKind::resource, "{}: {}", asked, gpu.why_not);
    note("{}: {}; running on the CPU", asked, gpu.why_not);
    return nullptr;
  }

  // Tables that are slow because they were asked for are nobody's surprise.
  const Ops& choose_cpu() const {
    const Ops& ops = cpu_ops(options_.isa);
    if (const std::string why = why_scalar(cpu_isas()); !why.empty() && options_.isa == "auto") {
      require(!options_.strict, ErrorKind::resource, "--strict: {}: the scalar kernels would be slow", why);
      note("{}: the scalar kernels will be slow", why);
    }
    return ops;
  }

  // Budgets, what earlier runs left, and what to do with experts for which there is no room.
  void set_tiers(ModelOptions& to, const GgufFile& file) const {
    const ModelConfig config = read_config(file);
    if (options_.vram) {
      to.vram = *options_.vram;
      require_within("--vram", to.vram, to.device->memory().total, "the GPU's memory");
    }
    if (options_.ram) {
      to.ram = *options_.ram;
      require_within("--ram", to.ram, total_memory(), "this machine's memory");
    }
    if (options_.resident_experts) to.resident_experts = options_.resident_experts(model_sizes(file).n_experts());
    to.prefill = options_.prefill;
    to.expert_policy = options_.expert_policy;
    to.prefill_rates = kept_rates(this_machine(to.n_threads), model_key(file));
    LoadedExpertStats known = load_expert_stats(expert_stats_path(options_.path), no_expert_stats(file, config));
    if (!known.why_not.empty()) note("{}", known.why_not);
    if (!known.stats) return;
    to.expert_use = std::move(known.stats->counts);
    to.expert_use_tokens = known.stats->tokens;
  }

  // Null: what must be there does not fit, which was said, and nobody insisted on it.
  std::unique_ptr<Model> onto_gpu(GgufFile file, ModelOptions to, const Gpu& gpu) const {
    to.ops = gpu.ops;
    to.device = gpu.device;
    to.host_ops = &choose_cpu();
    set_tiers(to, file);
    to.loading = [this](uint64_t done, uint64_t total) {
      check();
      show({"loading", done, total, loaded_.gpu});
    };
    try {
      auto model = std::make_unique<Model>(std::move(file), to);
      over();
      return model;
    } catch (const Error& error) {
      over();
      if (error.kind != ErrorKind::resource || options_.device != DeviceChoice::automatic || options_.strict) throw;
      note("{}; running on the CPU", error.what());
      return nullptr;
    }
  }

  // Copies are slow where the system would not lock memory; and what was asked for is not had.
  void say_what_falls_short() {
    const auto say = [this](const std::string& what) {
      require(!options_.strict, ErrorKind::resource, "--strict: {}", what);
      note("{}", what);
    };
    if (const std::string refusal = loaded_.new_refusal(); !refusal.empty()) say(refusal);
    if (options_.cache_format == FormatId::f32)
      say("--cache-type f32: on a GPU the attention of prompts rounds to BF16, whatever the cache holds");
  }

  void onto_cpu(GgufFile file, ModelOptions to) {
    const std::string gpu = loaded_.gpu_text();
    require(!options_.vram && !options_.resident_experts, ErrorKind::usage, "{}: the model runs on the CPU alone{}{}",
            options_.vram ? "--vram" : "--resident-experts", gpu.empty() ? "" : "; gpu: ", gpu);
    if (options_.ram) {
      to.ram = *options_.ram;
      require_within("--ram", to.ram, total_memory(), "this machine's memory");
      note("--ram: on the CPU alone it counts only for how many tokens of a prompt are run at once");
    }
    to.ops = &choose_cpu();
    read(file);
    loaded_.model = std::make_unique<Model>(std::move(file), to);
    say_what_does_not_fit(*loaded_.model);
  }

  // The first walk over freshly mapped pages is slow, and reading them from disk in the order in which tokens happen to
  // need them is slower, so it happens now, in the file's order. Of a file that does not fit into memory nothing is
  // read beforehand: what is needed comes when it is needed.
  void read(const GgufFile& file) const {
    const uint64_t usable = usable_memory(), total = file.file_bytes();
    if (usable > 0 && total > usable) return;
    uint64_t done = 0;
    for (const auto& part : file.parts())
      if (!read_part(*part, done, total)) break;
    over();
  }

  // False: a system that cannot; pages come one by one.
  bool read_part(const MappedFile& part, uint64_t& done, uint64_t total) const {
    constexpr size_t kStep = size_t(16) << 20;  // of a slow disk, in which Ctrl-C waits
    constexpr double kNearlyAll = 0.95;
    const bool cold = part.cached_share() < kNearlyAll;
    const auto bytes = part.bytes();
    if (cold) show({"reading", done, total, part.path()});
    for (size_t at = 0; at < bytes.size(); at += kStep) {
      const auto step = bytes.subspan(at, std::min(kStep, bytes.size() - at));
      const auto next = bytes.subspan(at + step.size());
      if (cold) part.will_need(next.first(std::min(kStep, next.size())));  // the disk is at work meanwhile
      if (!part.populate(step)) return false;
      check();
      done += step.size();
      if (cold) show({"reading", done, total, part.path()});
    }
    return true;
  }

  void say_what_does_not_fit(const Model& model) const {
    const MemoryNeed need{model.file().file_bytes(), model.active_bytes(), model.working_bytes() + model.cache_bytes()};
    const std::string advice = memory_advice(need, usable_memory());
    if (!advice.empty()) note("{}: {}", model.file().path(), advice);
  }

  const LoadOptions& options_;
  const LoadListener& listener_;
  LoadedModel loaded_;
};

}  // namespace

LoadedModel load_model(const LoadOptions& options, const LoadListener& listener) {
  return Loader(options, listener).load();
}

}  // namespace hearth
