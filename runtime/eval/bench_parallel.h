// How fast several sequences are that decode together, and how near that is to what the machine allows.
//
// A step reads what all tokens share once, and of the routed experts those that any of its tokens chose: the more
// tokens, the more of them. The floor is made of what was read in these very steps. It is bytes / bandwidth or, where
// that takes longer, what the arithmetic of as many tokens takes in a prompt, whose weights are read once for hundreds.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/engine/model.h"

namespace hearth {

struct ParallelOptions {
  std::vector<int64_t> streams;                      // numbers of sequences, the first one to be compared with
  int64_t prompt = 64, decode = 128, prefill = 512;  // tokens: of each sequence before and after; of the prompt
  int repetitions = 3;
  std::function<bool()> stop_now = {};
};

struct ParallelRow {
  int64_t n_streams = 0;
  double rate = 0;                 // tok/s of all together, the median
  double first_token_seconds = 0;  // if all prompts come at once, the median over the streams
  double step_bytes = 0;           // read a step, on average; 0: not known
  double floor = 0, share = 0;     // tok/s; rate / floor
};

struct ParallelResult {
  double bandwidth = 0;     // bytes/s of the host's memory
  double prefill_rate = 0;  // tok/s
  std::vector<ParallelRow> rows;
};

// The same random tokens in every run. Throws Error(usage): counts out of range; Error(interrupted).
ParallelResult bench_parallel(Model& model, const ParallelOptions& options);

}  // namespace hearth
