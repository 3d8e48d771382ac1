// mla_attend and absorbed_attend of kernels/ops.h for any instruction set: every head attends over the same latent
// rows, whose r + dr columns are the keys and whose first r columns are the values. A kernel does one unit of work: up
// to 16 heads of one token over a piece of the cache. The code here cuts a call into units and merges their results.
//
// The pieces depend on the token's position alone and are merged in order, so the result depends neither on the number
// of threads nor on the other tokens.
#pragma once

#include "kernels/cpu/engine.h"
#include "kernels/cpu/latent_rows.h"

namespace hearth::mla {

constexpr int64_t kHeads = 16;  // of a unit of work, at most

struct Unit {
  const float* q;  // [n_heads][r + dr], times the softmax scale
  int64_t n_heads;
  LatentRows rows;
  int64_t first, n;  // positions, n >= 1; first is a multiple of 16
  // Sum over positions of e^(score - largest) * value [n_heads][r], the largest score and the sum of the weights.
  float *o, *largest, *total;
  std::byte* work;  // of this thread, as many bytes as the kernel asked for, aligned to 64
};

// What an instruction set brings.
struct Kernel {
  void (*attend)(const Unit& unit);
  size_t (*work_bytes)(int64_t r, int64_t dr);
};

void mla_attend(const Kernel& kernel, const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope,
                const LatentCache& cache, const Positions& at, float scale, Heads<float> o_c);
void absorbed_attend(const Engine& engine, const Kernel& kernel, const Exec& exec, Heads<const float> q_nope,
                     Heads<const float> q_rope, const Weight& k_b, const Weight& v_b, const LatentCache& cache,
                     const Positions& at, float scale, Heads<float> q_c, Heads<float> o_c, Heads<float> o);
size_t scratch_bytes(const Kernel& kernel, const ScratchLimits& limits);

// Puts both operations into a table. (Local to each file: see kernels/cpu/parallel.h.)
namespace {
template <const Engine& (*engine)(), const Kernel& kernel>
void install(Ops& ops) {
  ops.scratch.mla_attend = [](const ScratchLimits& limits) { return scratch_bytes(kernel, limits); };
  ops.mla_attend = [](const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                      const Positions& at, float scale,
                      Heads<float> o_c) { mla_attend(kernel, exec, q_c, q_rope, cache, at, scale, o_c); };
  ops.absorbed_attend = [](const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                           const Weight& v_b, const LatentCache& cache, const Positions& at, float scale,
                           Heads<float> q_c, Heads<float> o_c, Heads<float> o) {
    absorbed_attend(engine(), kernel, exec, q_nope, q_rope, k_b, v_b, cache, at, scale, q_c, o_c, o);
  };
}
}  // namespace

}  // namespace hearth::mla
