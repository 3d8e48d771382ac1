// matmul, matmul_pair, matmul_heads, ffn and moe_ffn of kernels/ops.h for any Engine. A table of operations calls these
// with its own.
#pragma once

#include "kernels/cpu/engine.h"

namespace hearth::product {

void matmul(const Engine& engine, const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);
void matmul_pair(const Engine& engine, const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x,
                 Mat<float> y_a, Mat<float> y_b);
void matmul_heads(const Engine& engine, const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);
void ffn(const Engine& engine, const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);
void moe_ffn(const Engine& engine, const Exec& exec, const FfnWeights& experts, const FfnWeights& shared,
             const int32_t* ids, const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

// Head h of matmul_heads, by the calling thread alone. `stored` has stored_bytes(w.k) for each token; `next` as in
// RowsCall.
void multiply_head(const Engine& engine, const Weight& w, int64_t h, Heads<const float> x, std::byte* stored,
                   Heads<float> y, const uint8_t* next);
size_t stored_bytes(int64_t k);

// Bytes of scratch that the largest of these operations needs.
size_t scratch_bytes(const ScratchLimits& limits);

// Puts these operations into a table, with the engine that `engine` returns. (Local to each file: see
// kernels/cpu/parallel.h.)
namespace {
template <const Engine& (*engine)()>
void install(Ops& ops) {
  require_all_formats(engine());
  ops.scratch.matmul = scratch_bytes;
  ops.matmul = [](const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
    matmul(engine(), exec, w, x, y);
  };
  ops.matmul_pair = [](const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                       Mat<float> y_b) { matmul_pair(engine(), exec, a, b, x, y_a, y_b); };
  ops.matmul_heads = [](const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
    matmul_heads(engine(), exec, w, x, y);
  };
  ops.ffn = [](const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
    ffn(engine(), exec, w, x, y);
  };
  ops.moe_ffn = [](const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
                   const float* weights, int64_t n_activated, Mat<const float> x,
                   Mat<float> y) { moe_ffn(engine(), exec, experts, shared, ids, weights, n_activated, x, y); };
}
}  // namespace

}  // namespace hearth::product
