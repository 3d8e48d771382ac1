// The options that every command with a model shares, and what they open.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/model.h"
#include "runtime/sampler.h"
#include "runtime/tokenizer.h"

namespace CLI {
class App;
}

namespace hearth::cli {

struct SessionOptions {
  std::string model_path;
  std::string device = "auto", isa = "auto", cache = "bf16";
  std::string vram, ram, resident_experts;  // as typed; empty: what is free, and as many as fit
  std::string prefill_experts = "auto", expert_cache = "adaptive";
  int threads = 0;
  int64_t ctx = 0;
  int64_t ubatch = 512;
  bool check = false, strict = false, verbose = false;
  // Not options. Without text a file needs no vocabulary.
  bool needs_text = true;
  // Told which experts are chosen (ModelOptions::routed).
  std::function<void(int64_t layer, int64_t position, std::span<const int32_t> ids)> routed = {};
};

void add_session_options(CLI::App& command, SessionOptions& options);
void add_sampler_options(CLI::App& command, SamplerOptions& options);

// A model that is ready, with what belongs to it.
struct Session {
  std::unique_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string chat_template;  // Jinja text, empty when the file has none
  double load_seconds = 0;
  std::string gpu;              // what it is, or why there is none; empty: nobody asked
  std::string statistics_path;  // where use of experts is kept for the next session; empty: nowhere

  Session() = default;
  Session(Session&&) = default;
  Session& operator=(Session&&) = default;
  ~Session();  // keeps what was learned of the use of experts

  Sampler sampler(const SamplerOptions& options) const;  // never chooses unused rows of the vocabulary
};

// Opens and checks everything. One line on standard error for each thing that will be slow: no AVX2, more threads than
// cores, a model larger than memory; and for a device that this build or machine lacks, an error where it was named and
// `strict`.
Session open_session(const SessionOptions& options);

// A line on standard error for each thing that the file does not say and that was guessed.
void say_guesses(const GgufFile& file, const std::vector<std::string>& guesses);

// The first lines: model, processor and table of kernels, context and its cache. No silent fallback.
void print_banner(const Session& session);
// The last ones, with experts in two memories: hits, bytes moved, GB/s of each side.
void print_report(const Session& session);

}  // namespace hearth::cli
