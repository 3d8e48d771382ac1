#include "runtime/cli/session.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <limits>
#include <random>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "runtime/cli/choice.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/verify.h"
#include "runtime/engine/sampling_defaults.h"
#include "runtime/eval/report.h"
#include "runtime/model/read_config.h"
#include "runtime/model/weights.h"
#include "runtime/offload/expert_cache.h"
#include "runtime/offload/expert_stats.h"
#include "runtime/offload/hybrid.h"
#include "runtime/offload/model_sizes.h"
#include "runtime/offload/placement.h"
#include "runtime/support/seconds_since.h"
#include "runtime/support/size_text.h"
#include "runtime/support/system_memory.h"
#include "runtime/tokenizer/tokenizer_vocabulary.h"

namespace hearth::cli {
namespace {

// The GPU's operations, or null for the CPU: because it was asked for (by its name, or by that of one of its tables),
// or because there is no GPU. One that was named and is not there is missed loudly, or fails under --strict.
const Gpu* choose_gpu(const SessionOptions& options, Session& session) {
  if (options.device == DeviceChoice::cpu || (options.device == DeviceChoice::automatic && options.isa != "auto"))
    return nullptr;
  const Gpu& gpu = open_gpu();
  session.gpu = gpu.ops ? gpu.description : "none: " + gpu.why_not;
  if (gpu.ops) return &gpu;
  if (options.device == DeviceChoice::automatic) return nullptr;
  require(!options.strict, ErrorKind::resource, "--device {}: {}", gpu_name(), gpu.why_not);
  note("hearth: --device {}: {}; running on the CPU\n", gpu_name(), gpu.why_not);
  return nullptr;
}

// Tables that are slow because they were asked for are nobody's surprise.
const Ops& choose_cpu(const SessionOptions& options) {
  const Ops& ops = cpu_ops(options.isa);
  if (const std::string why = why_scalar(cpu_isas()); !why.empty() && options.isa == "auto") {
    require(!options.strict, ErrorKind::resource, "--strict: {}: the scalar kernels would be slow", why);
    note("hearth: {}: the scalar kernels will be slow\n", why);
  }
  return ops;
}

int choose_threads(const SessionOptions& options) {
  const int cores = default_threads();
  if (options.threads > cores)
    note("hearth: {} threads on {} core{}: more threads than cores are slower than --threads {}\n", options.threads,
         cores, cores == 1 ? "" : "s", cores);
  return options.threads > 0 ? options.threads : cores;
}

void say_what_does_not_fit(const Model& model) {
  const MemoryNeed need{model.file().file_bytes(), model.active_bytes(), model.working_bytes() + model.cache_bytes()};
  const std::string advice = memory_advice(need, usable_memory());
  if (!advice.empty()) note("hearth: {}: {}\n", model.file().path(), advice);
}

// What the header alone tells is told before the whole file is read.
void refuse_by_header(const GgufFile& file) {
  const ModelConfig config = read_config(file);
  say_guesses(file, config.notes);
  const std::string refusal = not_computed(file, config);
  require(refusal.empty(), ErrorKind::model, "{}: {}", file.path(), refusal);
}

// The first walk over freshly mapped pages is slow, and reading them from disk in the order in which tokens happen to
// need them is slower, so it happens now, in the file's order. Of a file that does not fit into memory nothing is
// read beforehand: what is needed comes when it is needed.
void read_file(const GgufFile& file) {
  constexpr size_t kStep = size_t(16) << 20;  // of a slow disk, in which Ctrl-C waits
  const uint64_t usable = usable_memory(), total = file.file_bytes();
  if (usable > 0 && total > usable) return;
  ProgressBar bar("reading");
  uint64_t done = 0;
  for (const auto& part : file.parts()) {
    constexpr double kNearlyAll = 0.95;
    const bool cold = part->cached_share() < kNearlyAll;
    const auto bytes = part->bytes();
    if (cold) bar.show(done, total, part->path());
    for (size_t at = 0; at < bytes.size(); at += kStep) {
      const auto step = bytes.subspan(at, std::min(kStep, bytes.size() - at));
      const auto next = bytes.subspan(at + step.size());
      if (cold) part->will_need(next.first(std::min(kStep, next.size())));  // the disk is at work meanwhile
      check_interrupt();
      if (!part->populate(step)) return;  // a system that cannot: pages come one by one
      done += step.size();
      if (cold) bar.show(done, total, part->path());
    }
  }
  bar.finish();
}

// Budgets, and what to do with experts for which there is no room.
void set_tiers(ModelOptions& to, const GgufFile& file, const SessionOptions& options) {
  const ModelConfig config = read_config(file);
  if (!options.vram.empty()) {
    to.vram = parse_size(options.vram, "--vram");
    require_within("--vram", to.vram, to.device->memory().total, "the GPU's memory");
  }
  if (!options.ram.empty()) {
    to.ram = parse_size(options.ram, "--ram");
    require_within("--ram", to.ram, total_memory(), "this machine's memory");
  }
  if (!options.resident_experts.empty())
    to.resident_experts = parse_resident_experts(options.resident_experts, model_sizes(file));
  to.prefill = options.prefill;
  to.expert_policy = options.expert_policy;
  to.prefill_rates = kept_rates(this_machine(to.n_threads), model_key(file));
  LoadedExpertStats known = load_expert_stats(expert_stats_path(options.model_path), no_expert_stats(file, config));
  if (!known.why_not.empty()) note("hearth: {}\n", known.why_not);
  if (!known.stats) return;
  to.expert_use = std::move(known.stats->counts);
  to.expert_use_tokens = known.stats->tokens;
}

// Where copies are slow because the system would not lock memory.
void say_what_was_refused(const Device& device, const SessionOptions& options) {
  const std::string refusal = device.refusal();
  require(refusal.empty() || !options.strict, ErrorKind::resource, "--strict: {}", refusal);
  if (!refusal.empty()) note("hearth: {}\n", refusal);
}

// Null: what must be there does not fit, which was said, and nobody insisted on it.
std::unique_ptr<Model> load_onto_gpu(GgufFile file, ModelOptions model_options, const Gpu& gpu,
                                     const SessionOptions& options) {
  ProgressBar bar("loading");
  model_options.ops = gpu.ops;
  model_options.device = gpu.device;
  model_options.host_ops = &choose_cpu(options);
  set_tiers(model_options, file, options);
  model_options.loading = [&](uint64_t done, uint64_t total) {
    check_interrupt();
    bar.show(done, total, gpu.description);
  };
  try {
    auto model = std::make_unique<Model>(std::move(file), model_options);
    bar.finish();
    say_what_was_refused(*gpu.device, options);
    return model;
  } catch (const Error& error) {
    bar.finish();
    if (error.kind != ErrorKind::resource || options.device != DeviceChoice::automatic || options.strict) throw;
    note("hearth: {}; running on the CPU\n", error.what());
    return nullptr;
  }
}

}  // namespace

MeasuredOn this_machine(int n_threads) {
  return {.n_threads = n_threads, .cpu = cpu_description(), .gpu = open_gpu().description, .folder = cache_folder()};
}

// With experts on both sides no single memory is what decoding waits for.
void keep_decode_speed(const Session& session, const GenerateResult& result) {
  constexpr int64_t kEnough = 16;  // tokens
  const Model& model = *session.model;
  if (model.hybrid() || result.decode_steps < kEnough) return;
  keep_seen(this_machine(model.options().n_threads), model_key(model.file()),
            {.decoding = double(model.active_bytes()) * result.decode_rate(), .on_gpu = runs_on_gpu(model)});
}

void add_model_option(CLI::App& command, SessionOptions& options) {
  command.add_option("model,-m,--model", options.model_path, "the model's GGUF file")->required();
}

void add_session_options(CLI::App& command, SessionOptions& options) {
  const auto machine = [](CLI::Option* option) { return option->group("Machine"); };
  const auto gpu = [](CLI::Option* option) { return option->group("GPU and experts"); };
  machine(
      command.add_option("--ctx,-c", options.ctx,
                         "context in tokens, as 4096 or 4k; 0: the model's limit (default: the same, at most 32768)"))
      ->transform(context_length());
  machine(command.add_option("--threads,-t", options.threads, "threads; 0: one per core (default: the same)"))
      ->transform(whole_number(0, 1024));
  machine(add_choice<DeviceChoice>(
      command, "--device", options.device,
      {{"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {gpu_name(), DeviceChoice::gpu}},
      "where the model runs"));
  machine(command.add_option("--ram", options.ram, "the host's memory to count on, as 48G (default: what is free)"))
      ->transform(memory_size());
  machine(command.add_option("--isa", options.isa, "table of CPU kernels, by name; auto: the best, or $HEARTH_ISA"))
      ->capture_default_str();
  machine(add_cache_type(command, options.cache_format));
  machine(command.add_option("--ubatch", options.ubatch, "prompt tokens run at once"))
      ->transform(token_count(1, int64_t(1) << 16))
      ->capture_default_str();
  machine(
      command.add_flag("--check", options.check, "first read the whole file and refuse weights that are not finite"));
  machine(command.add_flag("--strict", options.strict, "a fallback is an error"));
  machine(command.add_flag("-v,--verbose", options.verbose, "say what runs where, and how fast it was"));
  gpu(command.add_option("--vram", options.vram, "the GPU's memory to use, as 12G (default: what is free)"))
      ->transform(memory_size());
  gpu(command.add_option("--resident-experts", options.resident_experts,
                         "experts to keep on the GPU: a number, or a share as 0.25 (default: as many as fit)"));
  gpu(add_choice<PrefillPolicy>(command, "--prefill-experts", options.prefill,
                                {{"auto", PrefillPolicy::automatic},
                                 {"cpu", PrefillPolicy::host},
                                 {"copy", PrefillPolicy::copy},
                                 {"stream", PrefillPolicy::stream}},
                                "what a prompt does with experts that are not on the GPU: compute them on the CPU, "
                                "copy those it uses, or stream them ahead"));
  gpu(add_choice<ExpertPolicy>(command, "--expert-cache", options.expert_policy,
                               {{"adaptive", ExpertPolicy::adaptive},
                                {"static", ExpertPolicy::fixed},
                                {"lru", ExpertPolicy::lru},
                                {"lfu", ExpertPolicy::lfu}},
                               "which experts stay on the GPU while the model runs: those likeliest to be used next, "
                               "or for comparisons the first ones, the last used, the most used"));
}

void add_sampler_options(CLI::App& command, SamplerArguments& arguments) {
  constexpr int64_t kMostWhole = std::numeric_limits<int>::max();
  const auto add = [](CLI::Option* option, const CLI::Validator& number) {
    option->transform(number)->group("Sampling (what is not given, the model recommends)");
  };
  add(command.add_option("--temp", arguments.temperature, "temperature; 0 always takes the likeliest token"),
      decimal_number(0, 100));
  add(command.add_option("--top-p", arguments.top_p, "keep the likeliest tokens up to this total probability"),
      decimal_number(0, 1));
  add(command.add_option("--top-k", arguments.top_k, "keep the k likeliest tokens; 0: all"),
      whole_number(0, kMostWhole));
  add(command.add_option("--min-p", arguments.min_p, "drop tokens below this share of the best one's probability"),
      decimal_number(0, 1));
  add(command.add_option("--repeat-penalty", arguments.repetition_penalty, "1: off"), decimal_number(0, 100));
  add(command.add_option("--repeat-window", arguments.repetition_window, "how many last tokens the penalty looks at"),
      whole_number(0, kMostWhole));
  add(command.add_option("--seed", arguments.seed,
                         "the same seed gives the same text; random: another one each time (default)"),
      seed_number());
}

SamplerOptions Session::sampling(const SamplerArguments& arguments, const ChatTemplate* format) const {
  SamplerOptions options = recommended_sampling(model->file().metadata(), format).options;
  const auto set = [](auto& option, const auto& given) {
    if (given) option = *given;
  };
  set(options.temperature, arguments.temperature);
  set(options.top_k, arguments.top_k);
  set(options.top_p, arguments.top_p);
  set(options.min_p, arguments.min_p);
  set(options.repetition_penalty, arguments.repetition_penalty);
  set(options.repetition_window, arguments.repetition_window);
  options.seed = arguments.seed ? *arguments.seed : std::random_device()();
  return options;
}

Sampler Session::sampler(const SamplerOptions& options) const {
  Sampler sampler(options);
  std::vector<Token> unused;
  // Rows of the head beyond the vocabulary, and entries that only pad it.
  for (int64_t id = 0; id < model->config().vocab_size; ++id)
    if (id >= int64_t(tokenizer->size()) || tokenizer->is_unused(Token(id))) unused.push_back(Token(id));
  sampler.forbid(std::move(unused));
  return sampler;
}

Session::~Session() {
  if (!model || !model->expert_cache() || statistics_path.empty()) return;
  try {
    const ExpertUse& use = model->expert_cache()->use();
    ExpertStats stats = no_expert_stats(model->file(), model->config());
    stats.tokens = use.tokens();
    stats.counts = use.counts();
    // Hints: not missed where they cannot be written.
    if (stats.tokens > 0) save_expert_stats(statistics_path, stats);
    keep_rates(this_machine(model->options().n_threads), stats.model_key, model->hybrid()->rates());
  } catch (const std::exception&) {
  }
}

Session open_session(const SessionOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  ModelOptions model_options;
  model_options.n_threads = choose_threads(options);
  model_options.n_ctx = options.ctx == kWholeContext ? 0 : options.ctx;
  model_options.ubatch = options.ubatch;
  model_options.routed = options.routed;
  model_options.cache_format = options.cache_format;

  Session session;
  const auto open_file = [&] {
    GgufFile file = GgufFile::open(options.model_path);
    if (!options.needs_text) return file;
    session.tokenizer = std::make_unique<Tokenizer>(file.metadata());
    return file;
  };
  GgufFile file = open_file();
  refuse_by_header(file);
  if (options.needs_text) say_guesses(file, vocabulary_guesses(file.metadata()));
  if (options.ctx == kWholeContext) model_options.n_ctx = read_config(file).context_length;
  if (options.check) require_finite_weights(file);
  catch_interrupts();
  if (const Gpu* gpu = choose_gpu(options, session)) {
    session.model = load_onto_gpu(std::move(file), model_options, *gpu, options);
    session.statistics_path = expert_stats_path(options.model_path);
    if (session.model && session.model->hybrid()) read_file(session.model->file());  // the CPU's experts are read there
    if (!session.model) {
      session.gpu += ", too small";
      file = open_file();
    }
  }
  if (!session.model) {
    require(options.vram.empty() && options.resident_experts.empty(), ErrorKind::usage,
            "{}: the model runs on the CPU alone{}{}", options.vram.empty() ? "--resident-experts" : "--vram",
            session.gpu.empty() ? "" : "; gpu: ", session.gpu);
    if (!options.ram.empty()) note("hearth: --ram: does nothing here, as the model runs on the CPU alone\n");
    model_options.ops = &choose_cpu(options);
    read_file(file);
    session.model = std::make_unique<Model>(std::move(file), model_options);
    say_what_does_not_fit(*session.model);
  }
  session.load_seconds = seconds_since(start);
  return session;
}

void say_guesses(const GgufFile& file, const std::vector<std::string>& guesses) {
  for (const std::string& guess : guesses) note("hearth: {}: {}\n", file.path(), guess);
}

// Why the model does not run on a GPU, in few words; the rest with -v.
static std::string about_gpu(const std::string& gpu) {
  constexpr std::string_view kNone = "none: ";
  if (gpu.empty()) return "";
  if (!gpu.starts_with(kNone)) return "; GPU: " + gpu;
  return "; no GPU: " + gpu.substr(kNone.size(), gpu.find(" (") - kNone.size());
}

void print_summary(const Session& session) {
  note("{}\n{}{}\n", model_line(*session.model), running_line(*session.model),
       runs_on_gpu(*session.model) ? "" : about_gpu(session.gpu));
}

void print_sampling(const Session& session, const SamplerOptions& options, const ChatTemplate* format) {
  note("{:9} temperature {:.3g}, top-p {:.3g}, top-k {}, min-p {:.3g}, repeat penalty {:.3g}; seed {}\n", "sampling",
       options.temperature, options.top_p, options.top_k, options.min_p, options.repetition_penalty, options.seed);
  note("{:9} by default {}\n", "", recommended_sampling(session.model->file().metadata(), format).from);
}

void print_report(const Session& session) {
  for (const auto& fact : expert_report(*session.model)) note("{:9} {}\n", fact.name, fact.value);
}

void print_banner(const Session& session) {
  const Model& model = *session.model;
  for (const auto& facts : {startup_facts(model), tier_facts(model)})
    for (const auto& fact : facts) note("{:9} {}\n", fact.name, fact.value);
  if (!session.gpu.empty()) note("{:9} {}\n", "gpu", session.gpu);
  if (runs_on_gpu(model)) {
    note("{:9} loaded in {:.2f} s, {:.3f} GB/s\n", "ready", session.load_seconds,
         double(model.copied_bytes()) / session.load_seconds / 1e9);
  } else {
    note("{:9} mapped and checked in {:.2f} s\n", "ready", session.load_seconds);
  }
}

}  // namespace hearth::cli
