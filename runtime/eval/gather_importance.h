// Importance of a model's weights over a text (`hearth imatrix`): the text is cut into chunks, each is run in an empty
// cache, and what enters every matrix is summed up (input_sums.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "runtime/engine/model.h"
#include "runtime/eval/input_sums.h"

namespace hearth {

struct GatherOptions {
  int64_t n_ctx = 512;       // tokens of a chunk
  int64_t first = 0;         // chunks of the text that were done in an earlier run
  int64_t most = 0;          // chunks at most; 0: all
  std::optional<Token> bos;  // put in place of the first token of each chunk
  std::function<void(int64_t done, int64_t chunks, double ppl_so_far)> progress;  // after each chunk
  std::function<bool()> stop_now;  // asked all the time, also in the middle of a layer
};

struct Gathered {
  int64_t chunks = 0;     // whole ones; what was summed up of a chunk that was stopped stays
  int64_t of = 0;         // that there were to be
  int64_t chunk = 0;      // tokens of each
  double perplexity = 0;  // of all tokens with others before them: whether this is text that the model understands
};

// `sums` listens to the model (InputSums::begin). Throws Error(usage): too few tokens, no chunk behind the first ones;
// Error(model): what enters a matrix is not finite.
Gathered gather_importance(Model& model, std::span<const Token> tokens, InputSums& sums, const GatherOptions& options);

}  // namespace hearth
