#include "runtime/cli/session.h"

#include <CLI/CLI.hpp>
#include <optional>
#include <string_view>

#include "kernels/cuda/backend.h"
#include "runtime/cli/choice.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/resident_experts.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verify.h"
#include "runtime/engine/sampling_defaults.h"
#include "runtime/eval/report.h"

namespace hearth::cli {

void add_model_option(CLI::App& command, SessionOptions& options) {
  command.add_option("model,-m,--model", options.load.path, "the model's GGUF file")->required();
}

void add_session_options(CLI::App& command, SessionOptions& options) {
  const auto machine = [](CLI::Option* option) { return option->group("Machine"); };
  const auto gpu = [](CLI::Option* option) { return option->group("GPU and experts"); };
  machine(
      command.add_option("--ctx,-c", options.ctx,
                         "context in tokens, as 4096 or 4k; 0: the model's limit (default: the same, at most 32768)"))
      ->transform(context_length());
  machine(command.add_option("--threads,-t", options.load.threads, "threads; 0: one per core (default: the same)"))
      ->transform(whole_number(0, 1024));
  machine(add_choice<DeviceChoice>(
      command, "--device", options.load.device,
      {{"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {gpu_name(), DeviceChoice::gpu}},
      "where the model runs"));
  machine(command.add_option("--gpu", options.load.gpu, "which GPU, by its number (default: the one with most memory)"))
      ->transform(whole_number(0, 1023))
      ->type_name("INT");
  machine(
      command.add_option("--ram", options.load.ram, "the host's memory to count on, as 48G (default: what is free)"))
      ->transform(memory_bytes())
      ->type_name("TEXT");
  machine(
      command.add_option("--isa", options.load.isa, "table of CPU kernels, by name; auto: the best, or $HEARTH_ISA"))
      ->capture_default_str();
  machine(add_cache_type(command, options.load.cache_format));
  machine(command.add_option("--ubatch", options.load.ubatch, kUbatchHelp))
      ->transform(token_count(1, int64_t(1) << 16));
  machine(
      command.add_flag("--check", options.check, "first read the whole file and refuse weights that are not finite"));
  machine(command.add_flag("--strict", options.load.strict, "a fallback is an error"));
  machine(command.add_flag("-v,--verbose", options.verbose, "say what runs where, and how fast it was"));
  gpu(command.add_option("--vram", options.load.vram, "the GPU's memory to use, as 12G (default: what is free)"))
      ->transform(memory_bytes())
      ->type_name("TEXT");
  gpu(command.add_option("--resident-experts", options.resident_experts,
                         "experts to keep on the GPU: a number, or a share as 0.25 (default: as many as fit)"));
  gpu(command.add_flag("!--no-graphs", options.load.record_steps,
                       "queue the operations of each token one by one: slower, to find faults of a driver"));
  gpu(command.add_flag("--reproducible", options.load.reproducible,
                       "the same seed gives the same text, whichever experts are on the GPU: slower where the CPU has "
                       "some of them"));
  gpu(add_choice<PrefillPolicy>(command, "--prefill-experts", options.load.prefill,
                                {{"auto", PrefillPolicy::automatic},
                                 {"cpu", PrefillPolicy::host},
                                 {"copy", PrefillPolicy::copy},
                                 {"stream", PrefillPolicy::stream}},
                                "what a prompt does with experts that are not on the GPU: compute them on the CPU, "
                                "copy those it uses, or stream them ahead"));
  gpu(add_choice<ExpertPolicy>(command, "--expert-cache", options.load.expert_policy,
                               {{"adaptive", ExpertPolicy::adaptive},
                                {"static", ExpertPolicy::fixed},
                                {"lru", ExpertPolicy::lru},
                                {"lfu", ExpertPolicy::lfu}},
                               "which experts stay on the GPU while the model runs: those likeliest to be used next, "
                               "or for comparisons the first ones, the last used, the most used"));
}

LoadedModel open_session(const SessionOptions& options) {
  LoadOptions load = options.load;
  load.whole_context = options.ctx == kWholeContext;
  load.n_ctx = load.whole_context ? 0 : options.ctx;
  if (!options.resident_experts.empty())
    load.resident_experts = [&](int64_t all) { return parse_resident_experts(options.resident_experts, all); };

  std::optional<ProgressBar> bar;
  LoadListener listener;
  listener.note = [](std::string_view text) { note("hearth: {}\n", text); };
  listener.progress = [&](const LoadProgress& progress) {
    if (!bar) bar.emplace(std::string(progress.title));
    bar->show(progress.done, progress.total, progress.what);
    if (options.progress && progress.total > 0) options.progress(double(progress.done) / double(progress.total));
  };
  listener.progress_over = [&] { bar.reset(); };
  listener.header_read = [&](const GgufFile& file) {
    if (options.check) require_finite_weights(file);
    catch_interrupts();
    if (options.header_read) options.header_read();
  };
  listener.check = check_interrupt;
  return load_model(load, listener);
}

// Why the model does not run on a GPU, in few words; the rest with -v.
static std::string about_gpu(const LoadedModel& session) {
  if (session.why_not_gpu.empty()) return "";
  if (!session.gpu.empty()) return "; GPU: " + session.gpu_text();
  return "; no GPU: " + session.why_not_gpu.substr(0, session.why_not_gpu.find(" ("));
}

void print_summary(const LoadedModel& session) {
  note("{}\n{}{}\n", model_line(*session.model), running_line(*session.model), about_gpu(session));
}

void print_sampling(const LoadedModel& session, const SamplerOptions& options, const ChatTemplate* format) {
  note("{:9} temperature {:.3g}, top-p {:.3g}, top-k {}, min-p {:.3g}; seed {}\n", "sampling", options.temperature,
       options.top_p, options.top_k, options.min_p, options.seed);
  note("{:9} penalties: repeat {:.3g}, frequency {:.3g}, presence {:.3g}\n", "", options.repetition_penalty,
       options.frequency_penalty, options.presence_penalty);
  note("{:9} by default {}\n", "", recommended_sampling(session.model->file().metadata(), format).from);
}

void tell_refusal(LoadedModel& session, const SessionOptions& options) {
  const std::string refusal = session.new_refusal();
  if (refusal.empty()) return;
  require(!options.load.strict, ErrorKind::resource, "--strict: {}", refusal);
  note("hearth: {}\n", refusal);
}

void print_report(const LoadedModel& session) {
  for (const auto& fact : expert_report(*session.model)) note("{:9} {}\n", fact.name, fact.value);
}

void print_banner(const LoadedModel& session) {
  const Model& model = *session.model;
  for (const auto& facts : {startup_facts(model), tier_facts(model)})
    for (const auto& fact : facts) note("{:9} {}\n", fact.name, fact.value);
  if (const std::string gpu = session.gpu_text(); !gpu.empty()) note("{:9} {}\n", "gpu", gpu);
  if (runs_on_gpu(model)) {
    note("{:9} loaded in {:.2f} s, {:.3f} GB/s\n", "ready", session.load_seconds,
         double(model.copied_bytes()) / session.load_seconds / 1e9);
  } else {
    note("{:9} mapped and checked in {:.2f} s\n", "ready", session.load_seconds);
  }
}

}  // namespace hearth::cli
