// How well a model predicts a text, and how far a quantized file is from the model it was made of.
//
// The tokens are cut into windows of n_ctx; each window is run in an empty cache. The first half of a window is context
// only; from its middle on every next token is scored (as llama.cpp's perplexity does, so the figures compare). A rest
// shorter than a window is dropped, unless it is all there is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "runtime/engine/model.h"

namespace hearth {

struct PerplexityOptions {
  int64_t n_ctx = 512;        // tokens per window
  int64_t max_windows = 0;    // 0: all
  std::optional<Token> bos;   // put in place of the first token of each window
  std::string save_baseline;  // path: store this model's predictions for later comparison; must not exist
  std::string baseline;       // path: compare with stored predictions (same vocabulary, tokens, windows)
  std::function<bool(int64_t windows_done, int64_t windows, double ppl_so_far)> progress;  // false: interrupted
  std::function<bool()> stop_now;  // asked all the time, also in the middle of a layer; true: interrupted
};

// Of the stored model's distribution p from this model's q, over all scored positions, in nats.
struct Divergence {
  std::string baseline_name;
  double baseline_ppl = 0;
  double mean_kl = 0, mean_kl_error = 0;  // KL(p || q), and its standard error
  double median_kl = 0, p99_kl = 0, max_kl = 0;
  double top1_agreement = 0;  // share of positions where both have the same most likely token
};

struct PerplexityResult {
  int64_t n_windows = 0, window = 0, n_scored = 0;
  double ppl = 0, ppl_error = 0;  // exp of the mean negative log-likelihood; one standard error
  double seconds = 0;
  int64_t tokens_run = 0;
  std::optional<Divergence> divergence;
};

// Throws Error(usage): too few tokens, a window beyond the model's context, both baselines; Error(format): a baseline
// that is none, is truncated, or belongs to other tokens or another vocabulary; Error(file); Error(interrupted).
PerplexityResult measure_perplexity(Model& model, std::span<const Token> tokens, const PerplexityOptions& options);

}  // namespace hearth
