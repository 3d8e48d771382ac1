// matmul, matmul_heads, ffn and moe_ffn of kernels/ops.h for any Engine. A table of operations calls these with its
// own.
#pragma once

#include "kernels/cpu/engine.h"

namespace hearth::product {

void matmul(const Engine& engine, const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);
void matmul_heads(const Engine& engine, const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);
void ffn(const Engine& engine, const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);
void moe_ffn(const Engine& engine, const Exec& exec, const FfnWeights& experts, const FfnWeights& shared,
             const int32_t* ids, const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

// What the largest of them needs.
size_t scratch_bytes(const ScratchLimits& limits);

// Puts them into a table, with the engine that the function gives. (Local to each file: see kernels/cpu/parallel.h.)
namespace {
template <const Engine& (*engine)()>
void install(Ops& ops) {
  ops.matmul = [](const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
    matmul(engine(), exec, w, x, y);
  };
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
