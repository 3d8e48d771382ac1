// The first lines of `chat`, `run -v` and `bench`: what runs, where and with how much memory. No silent fallback.
#pragma once

#include <string>
#include <vector>

#include "runtime/engine/model.h"
#include "runtime/eval/inspect.h"

namespace hearth {

// For newcomers: "DeepSeek-V2-Lite-Chat: 15.7 G parameters, 9.62 GB, context of 32768 tokens", and "running on the CPU
// (avx512, 2 threads)".
std::string model_line(const Model& model);
std::string running_line(const Model& model);
// model, machine, running (the table of operations in use, threads), context with its cache, memory.
std::vector<Fact> startup_facts(const Model& model);
// Where the experts are, on a GPU; empty: there is none, or the model has none.
std::vector<Fact> tier_facts(const Model& model);
// What became of that: hits, and what each side and each way between them did. Empty: all is in one memory.
std::vector<Fact> expert_report(const Model& model);

// Bytes of weights by where they lie; of a mapped file, what is more than `usable` (usable_memory(); 0: unknown) is on
// disk.
struct WeightPlaces {
  uint64_t gpu = 0, memory = 0, disk = 0;
};
WeightPlaces weight_places(const Model& model, uint64_t usable);

}  // namespace hearth
