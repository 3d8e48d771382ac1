// The options that every command with a model shares, and what they open.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine/conversation.h"
#include "runtime/engine/model.h"
#include "runtime/engine/sampler.h"
#include "runtime/offload/kept_figures.h"
#include "runtime/tokenizer/tokenizer.h"

namespace CLI {
class App;
}

namespace hearth {

class ChatTemplate;

namespace cli {

// Where a model runs; automatic: on the GPU where there is one.
enum class DeviceChoice { automatic, cpu, gpu };

struct SessionOptions {
  std::string model_path;
  DeviceChoice device = DeviceChoice::automatic;
  std::string isa = "auto";                 // the name of a table
  std::string vram, ram, resident_experts;  // as typed; empty: what is free, and as many as fit
  FormatId cache_format = FormatId::bf16;
  PrefillPolicy prefill = PrefillPolicy::automatic;
  ExpertPolicy expert_policy = ExpertPolicy::adaptive;
  int threads = 0;
  int64_t ctx = 0;
  int64_t ubatch = 512;
  bool check = false, strict = false, verbose = false;
  // Not options. Without text a file needs no vocabulary.
  bool needs_text = true;
  RoutingListener routed = {};
};

// The model itself, the first word of its commands.
void add_model_option(CLI::App& command, SessionOptions& options);
void add_session_options(CLI::App& command, SessionOptions& options);

// What the command line says of sampling; what it leaves out the model recommends.
struct SamplerArguments {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k, repetition_window;
  std::optional<uint64_t> seed;  // none: another one each time
};
void add_sampler_options(CLI::App& command, SamplerArguments& arguments);

// A model that is ready, with what belongs to it.
struct Session {
  std::unique_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  double load_seconds = 0;
  std::string gpu;              // what it is, or why there is none; empty: nobody asked
  std::string statistics_path;  // where use of experts is kept for the next session; empty: nowhere

  Session() = default;
  Session(Session&&) = default;
  Session& operator=(Session&&) = default;
  ~Session();  // keeps what was learned of the use of experts

  // With every option and the seed decided; `format`: null for a text that is continued.
  SamplerOptions sampling(const SamplerArguments& arguments, const ChatTemplate* format) const;
  Sampler sampler(const SamplerOptions& options) const;  // never chooses unused rows of the vocabulary
};

// Opens and checks everything. One line on standard error for each thing that will be slow: no AVX2, more threads than
// cores, a model larger than memory; and for a device that this build or machine lacks, an error where it was named and
// `strict`. Catches interrupts from then on (terminal.h), also while it loads: throws Error(interrupted).
Session open_session(const SessionOptions& options);

// To which machine figures belong that were measured.
MeasuredOn this_machine(int n_threads);

// Tells later plans how fast the model decoded here.
void keep_decode_speed(const Session& session, const GenerateResult& result);

// A line on standard error for each thing that the file does not say and that was guessed.
void say_guesses(const GgufFile& file, const std::vector<std::string>& guesses);

// What a newcomer wants to know: the model, and where it runs. Two lines.
void print_summary(const Session& session);
// With -v: model, processor and table of kernels, context and its cache. No silent fallback.
void print_banner(const Session& session);
// With -v: how answers are sampled, and who recommends what was not given.
void print_sampling(const Session& session, const SamplerOptions& options, const ChatTemplate* format);
// The last ones, with experts in two memories: hits, bytes moved, GB/s of each side.
void print_report(const Session& session);

}  // namespace cli
}  // namespace hearth
