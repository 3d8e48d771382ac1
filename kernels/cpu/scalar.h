// The scalar table, the oracle: every operation as its formula reads, sums in double, results in float, with the
// baseline instructions of any processor. Semantics and shapes are in kernels/ops.h.
#pragma once

#include "kernels/ops.h"

namespace hearth {

const Ops& scalar_ops();

namespace scalar {

void embed(const Exec& exec, const Weight& table, const int32_t* tokens, Mat<float> x);
void rms_norm(const Exec& exec, Mat<const float> x, const float* w, float eps, Mat<float> y);
void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);
void matmul_pair(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                 Mat<float> y_b);
void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);
void rope(const Exec& exec, const RopeTable& table, const int32_t* positions, Heads<float> x);
void store_latent(const Exec& exec, Mat<const float> kv_a, const float* norm, float eps, const RopeTable& table,
                  const LatentCache& cache, const Positions& at);
void mla_attend(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                const Positions& at, float scale, Heads<float> o_c);
void absorbed_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                     const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> q_c,
                     Heads<float> o_c, Heads<float> o);
void mha_attend(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> o);
void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);
void route(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
           int32_t* ids, float* weights);
void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);
void add(const Exec& exec, Mat<const float> y, Mat<float> x);
void add_rms_norm(const Exec& exec, Mat<const float> y, Mat<const float> rest, Mat<float> x, const float* w, float eps,
                  Mat<float> h);
void largest(const Exec& exec, Mat<const float> x, const uint32_t* without, Mat<Entry> best);

// Ops::GroupScratch.
size_t matmul_scratch(const ScratchLimits& limits);
size_t mla_scratch(const ScratchLimits& limits);
size_t mha_scratch(const ScratchLimits& limits);
size_t route_scratch(const ScratchLimits& limits);

// The sum of a[i] * b[i] in double, in eight interleaved partial sums: as exact as one sum, and the compiler can use
// vectors without permission to reorder additions.
inline double dot(const float* a, const float* b, int64_t n) {
  double part[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) part[j] += double(a[i + j]) * b[i + j];
  }
  for (int j = 0; i < n; ++i, ++j) part[j] += double(a[i]) * b[i];
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

}  // namespace scalar

// One token's choice of experts from its router logits: scores, groups, the K best, their weights (docs/model.md,
// section 4). Where scores are equal the lower index wins, for experts and for groups. Every CPU table uses this
// function.
//   logits [E], bias [E] or null -> ids [K], weights [K];  scratch [3 E] floats.
void select_experts(const Routing& rule, const float* logits, const float* bias, float* scratch, int32_t* ids,
                    float* weights);

}  // namespace hearth
