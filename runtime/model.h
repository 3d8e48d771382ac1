// The model: the paper, written once. Weights are views of the mapped file; the only state of a conversation is its
// KvCache.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "quant/gguf.h"
#include "runtime/config.h"
#include "runtime/expert_use.h"
#include "runtime/kv_cache.h"
#include "runtime/prefill_share.h"
#include "runtime/tokenizer.h"

namespace hearth {

class ExpertCache;
class Hybrid;
struct Plan;

struct ModelOptions {
  const Ops* ops = nullptr;
  int n_threads = 1;
  int64_t n_ctx = 0;                       // 0: the model's limit, at most 32768 by default
  FormatId cache_format = FormatId::bf16;  // or f32
  int64_t ubatch = 512;                    // tokens run at once in prefill
  enum class Attention { automatic, absorbed, naive } attention = Attention::automatic;  // forced in tests
  // The operations of the CPU, for experts that do not fit into the memory of `ops`; null: the whole model is to be
  // there.
  const Ops* host_ops = nullptr;
  // Budgets of the two memories in bytes; 0: what is free. How many experts are to be on the GPU: as many as fit, or
  // for tests and experiments exactly so many; and how often each is expected to be used, [MoE layers][E], empty:
  // equally.
  uint64_t vram = 0, ram = 0;
  std::optional<int64_t> resident_experts = {};
  std::vector<float> expert_use = {};
  double expert_use_tokens = 0;                         // of how many tokens that is
  ExpertPolicy expert_policy = ExpertPolicy::adaptive;  // what is kept there while the model runs
  // What a prompt's step does with experts that are not there. It is decided by the rates of host and copies, which the
  // loading of experts and the first layers show, unless they are given. Slots for experts that are copied for one
  // step; -1: as the plan thinks best.
  PrefillPolicy prefill = PrefillPolicy::automatic;
  PrefillRates prefill_rates = {};
  int64_t n_staging = -1;
  // Told which experts the router of an MoE layer chose: ids [T,K] of the T tokens from `position` on.
  std::function<void(int64_t layer, int64_t position, std::span<const int32_t> ids)> routed = {};
  // Whether experts are asked of the disk before they are computed: where the file does not fit into memory, or as
  // said.
  std::optional<bool> read_ahead = {};
  // Told the bytes of weights that the backend has taken, of how many. What it throws ends the loading.
  std::function<void(uint64_t done, uint64_t total)> loading = {};
};

// How far a call of Model::run is.
struct RunProgress {
  int64_t done = 0;   // tokens that the cache holds: whole slices
  int64_t total = 0;  // tokens of the call
  double share = 0;   // of the call's work, the slice under way counted by its layers: 0 to 1
};

class Model {
 public:
  // Checks every tensor's presence, shape and format before anything runs; of a mapped file only the header is read.
  // Throws Error(model); Error(resource): no memory (a backend with a memory of its own is asked before anything is
  // loaded), or a context beyond the model's limit; Error(usage): options out of range.
  Model(GgufFile file, const ModelOptions& options);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const GgufFile& file() const;
  const ModelConfig& config() const;
  const ModelOptions& options() const;  // with defaults filled in
  KvCache new_cache() const;
  size_t cache_bytes() const;  // what new_cache takes

  // Runs `tokens` at the next positions of `cache`, in slices of ubatch. logits: [V] of the last token, or [T,V] of all
  // when `all_logits`; empty span: none wanted. Throws Error(resource): context is full, Error(usage): a token id
  // outside the vocabulary, no tokens. Both before anything runs. Error(resource) also where the backend failed, with
  // its words: nothing the cache holds is to be used then. One call at a time: the activations belong to the model.
  //
  // `watch` is asked all the time, also in the middle of a layer, on this thread: many times in a millisecond, so it is
  // to be quick. Once it returns false, run returns false within milliseconds: at a GPU, when what it is at is done.
  // The cache holds the whole slices then, as if the one under way had not been begun; run goes on from there with the
  // same bits. Logits of slices that were not finished are not to be used. What `watch` throws comes out of run in the
  // same way.
  bool run(std::span<const Token> tokens, KvCache& cache, std::span<float> logits, bool all_logits = false,
           const std::function<bool(const RunProgress&)>& watch = {});

  // Whether the backend still answers: a GPU that failed once answers no more. To be asked between calls of run.
  bool works() const;

  // Bytes of weights that one decoded token reads (active parameters), for the decode floor.
  uint64_t active_bytes() const;
  // Bytes of weights that were copied into a backend's own memory; 0: they are read where they lie.
  uint64_t copied_bytes() const;
  // Memory besides the mapped weights and the caches: activations, scratch, angles, rearranged weights.
  size_t working_bytes() const;
  // Where everything is, on a backend with a memory of its own; without layers otherwise.
  const Plan& plan() const;
  // Null: all of the model is in one memory.
  const Hybrid* hybrid() const;
  const ExpertCache* expert_cache() const;
  // Spent in `run` so far.
  double running_seconds() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
