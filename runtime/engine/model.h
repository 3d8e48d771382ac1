// The model: the paper, written once. Weights are views of the mapped file; the only state of a sequence is its
// KvCache.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "kernels/ops.h"
#include "quant/gguf.h"
#include "runtime/engine/model_options.h"
#include "runtime/model/config.h"
#include "runtime/model/kv_cache.h"
#include "runtime/support/token.h"

namespace hearth {

class ExpertCache;
class Hybrid;
struct Plan;
struct Weights;

// How far a call of Model::run is.
struct RunProgress {
  int64_t done = 0;   // tokens that the cache holds: whole slices
  int64_t total = 0;  // tokens of the call
  double share = 0;   // of the call's work, the slice under way counted by its layers: 0 to 1
};

// The next tokens of a sequence, in a step together with those of others.
struct NextTokens {
  std::span<const Token> tokens;
  KvCache* cache = nullptr;      // they follow what it holds
  std::span<float> logits = {};  // [V] of the last of them; empty: none wanted
  std::span<Entry> best = {};    // the best of those by token, the best first; at most kMostLargest. Empty: none wanted
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
  const Weights& weights() const;       // whose data tells an InputListener which matrix it hears of
  // An empty sequence. All share a pool of n_sequences times n_ctx positions.
  KvCache new_cache() const;
  LatentPool& pool() const;
  size_t cache_bytes() const;  // what the pool takes

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

  // One step of several sequences, each of which has one segment of it: ubatch tokens at most. All weights are read
  // once for all tokens. Throws and stops as `run` does; then no cache is longer than before.
  bool step(std::span<const NextTokens> segments, const std::function<bool(const RunProgress&)>& watch = {});

  // Tokens that are none of the best that a step gives; ids outside the vocabulary do nothing.
  void leave_out(std::span<const Token> tokens);

  // Whether the backend still answers: a GPU that failed once answers no more. To be asked between calls of run.
  bool works() const;

  // Bytes of weights that one decoded token reads (active parameters), for the decode floor.
  uint64_t active_bytes() const;
  // Of those, the bytes besides routed experts: a step reads them once, whatever the number of its tokens.
  uint64_t step_bytes() const;
  // Bytes of routed experts that all steps so far have read, each expert once a step; 0 where a GPU has all of them.
  uint64_t read_expert_bytes() const;
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

// Does a backend with a memory of its own run it?
bool runs_on_gpu(const Model& model);

}  // namespace hearth
