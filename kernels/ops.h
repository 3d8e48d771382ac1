// FLOOR 2's face: sixteen operations, each as large as an equation group, so that a backend may fuse inside; and three
// that put some of them together for one token.
//
// A backend is one filled `struct Ops`. Scalar fills all of it and is the oracle; AVX2 and AVX-512 overwrite what they
// do better; CUDA fills its own. The forward (runtime/model/forward.cpp) is written once against this table. Where
// operations run, and the memory they use, is the business of Device (kernels/device.h).
//
// Every operation is a pure function of views: inputs first, outputs last, scratch passed in by `Exec`. None of them
// allocates, synchronises, reads the environment, prints or throws; sizes were checked when the model was loaded. All
// views point into the device's memory, which on a GPU only its kernels can read. Outputs do not overlap inputs unless
// said. All activations are float32, row-major. y[T,n] = x[T,k] * W[n,k]^T everywhere. Shapes: T tokens, d width, H
// heads, E experts, K experts used, r kv latent, n x k weight rows x columns.
//
// On the CPU an output's bits never depend on the number of threads. Whether they depend on the other tokens of the
// call:
//   scalar table, or F32 weights    no.
//   F16 and BF16 weights            no, except on AMX, which rounds weights and activations of many tokens to bfloat16.
//   F8_E4M3 and integer weights     yes: the faster tables add in another order for few tokens than for many, and round
//                                   activations: for integers to 8 bits (on AMX, of many tokens: to bfloat16), for
//                                   F8_E4M3 to bfloat16 or not at all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "quant/tensor.h"

namespace hearth {

// `count` matrices of n x k weights in one format (1, or one per head or expert), in the device's memory.
struct Weight {
  const Format* format = nullptr;
  const std::byte* data = nullptr;
  int64_t count = 0, n = 0, k = 0;
  size_t row_bytes = 0;
  size_t matrix_stride = 0;  // bytes from one matrix to the next; more than n * row_bytes where gate and up are fused

  explicit operator bool() const { return data != nullptr; }
  const std::byte* row(int64_t matrix, int64_t i) const {
    return data + size_t(matrix) * matrix_stride + size_t(i) * row_bytes;
  }
};

// A tensor [count, n, k] or [n, k], wherever its bytes are.
inline Weight as_weight(const Tensor& tensor) {
  const bool stacked = tensor.shape.rank == 3;
  return {.format = tensor.format,
          .data = tensor.data,
          .count = stacked ? tensor.shape.dim[0] : 1,
          .n = tensor.shape.dim[stacked ? 1 : 0],
          .k = tensor.shape.cols(),
          .row_bytes = tensor.row_bytes(),
          .matrix_stride = size_t(tensor.shape.dim[stacked ? 1 : 0]) * tensor.row_bytes()};
}

// [T, H, width] values inside a larger row: the nope or the rope part of q, or the output of attention.
template <class T>
struct Heads {
  T* data = nullptr;
  int64_t n_tokens = 0, n_heads = 0, width = 0;
  int64_t token_stride = 0, head_stride = 0;

  T* at(int64_t token, int64_t head) const { return data + token * token_stride + head * head_stride; }
  Heads slice(int64_t first_token, int64_t n) const {
    return {at(first_token, 0), n, n_heads, width, token_stride, head_stride};
  }
  operator Heads<const T>() const { return {data, n_tokens, n_heads, width, token_stride, head_stride}; }
};

// Rotary angles for every position of the context: [n_ctx, rope_dim / 2] pairs (cos, sin), YaRN and its magnitude
// factor included (runtime/model/yarn.cpp).
struct RopeTable {
  const float* cos_sin = nullptr;
  int64_t n_ctx = 0, rope_dim = 0;

  const float* at(int64_t position) const { return cos_sin + position * rope_dim; }
};

// One layer of the latent cache: rows [n_rows, r + dr], the normalised latent c_kv then the rotated k_rope, of all
// sequences. Which rows are whose is said by Positions.
struct LatentCache {
  std::byte* data = nullptr;
  FormatId format = FormatId::bf16;  // bf16 or f32
  int64_t n_rows = 0, kv_lora_rank = 0, rope_dim = 0;

  int64_t width() const { return kv_lora_rank + rope_dim; }
  size_t row_bytes() const { return size_t(width()) * (format == FormatId::f32 ? 4 : 2); }
};

// Sequences have their rows of the cache in pages of 64 positions.
constexpr int kPageBits = 6;
constexpr int64_t kPagePositions = int64_t(1) << kPageBits;

// The router's rule (docs/model.md section 4): the scores, how groups are ranked, and what is done to the weights.
struct Routing {
  enum class Score { softmax, sigmoid } score = Score::softmax;
  enum class GroupScore { maximum, top2_sum } group_score = GroupScore::maximum;
  int n_experts = 0, n_activated = 0;
  int n_groups = 1, n_limited_groups = 1;  // no grouping when n_groups == 1
  bool normalize = false;                  // divide the chosen weights by their sum
  float scale = 1.0f;
};

// gate [n,d], up [n,d], down [d,n]: one gated FFN, or `count` of them stacked, the experts of a layer. Where this
// memory holds only some of the experts, slots[e] is the number of expert e's matrix in the stack, or negative if the
// expert is elsewhere: moe_ffn leaves out what that expert would add, and the caller adds it.
struct FfnWeights {
  Weight gate, up, down;
  const int32_t* slots = nullptr;  // [n_slots], in the device's memory; null: expert e is matrix e
  int64_t n_slots = 0;

  int64_t n_experts() const { return slots ? n_slots : gate.count; }
};

// What attention multiplies with in a layer: an RMSNorm before it, W^Q or W^DQ and W^UQ with a norm between them, W^DKV
// with k^R's rows and its norm, and as Ops::absorbed_attend and Ops::matmul have them, W^UK, W^UV and W^O.
struct AttentionWeights {
  const float* norm = nullptr;       // [d]
  Weight q;                          // [H (dn + dr), d]; empty where there are
  Weight q_a, q_b;                   // [Q, d], [H (dn + dr), Q]
  const float* q_a_norm = nullptr;   // [Q]
  Weight kv_a;                       // [r + dr, d]
  const float* kv_a_norm = nullptr;  // [r]
  Weight k_b, v_b, output;           // [H, r, dn], [H, dv, r], [d, H dv]
};

// The residual stream [T,d], and what is still to be added to it: y, then rest, where they have data.
struct Residual {
  Mat<float> x;
  Mat<const float> y, rest;
};

// A value of a row, and where in the row.
struct Entry {
  int32_t column = 0;
  float value = 0;
};
inline constexpr int64_t kMostLargest = 256;  // of Ops::largest

// What the largest call will need, for sizing scratch.
struct ScratchLimits {
  int64_t max_tokens = 0, max_width = 0;  // rows of a ubatch; the widest n or k, not counting the V rows of the head
  int64_t n_heads = 0, kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  int64_t dim = 0, inter_dim = 0, moe_inter_dim = 0, shared_inter_dim = 0, n_experts = 0, n_activated = 0;
  int64_t n_ctx = 0;
  int n_threads = 1;
  int multiprocessors = 192;  // of the GPU, Device::multiprocessors; where none is known: more than any has
  bool alike = false;         // calls with Exec::alike
};

// Who runs an operation and with what.
struct Exec {
  int n_threads = 1;
  std::span<std::byte> scratch;  // at least Ops::scratch_bytes(limits), aligned to 64; free for every call
  const void* queue = nullptr;   // Device::queue
  // moe_ffn takes weights as they are and rounds activations as every backend then does (kernels/rounding.h), whatever
  // the number of tokens, so that what experts give does not depend on where they are.
  bool alike = false;
  // matmul, ffn and moe_ffn of one token: x as OneToken::norm or route has left it beside its floats. Null: they round
  // it themselves.
  const std::byte* rounded = nullptr;
};

// Where the T tokens of a call stand, and where the rows that they see lie: token t sees `ids[t] + 1` of them, position
// p of which is row pages[sequences[t]][p / P] * P + p % P of the cache, P = 2^page_bits. All arrays are in the
// device's memory. With page_bits = 0 `pages` lists single rows, whichever were chosen (sparse attention).
struct Positions {
  const int32_t* ids = nullptr;        // [T]
  const int32_t* sequences = nullptr;  // [T]: rows of `pages`
  const int32_t* pages = nullptr;      // [rows, page_stride]
  int64_t page_stride = 0;
  int page_bits = kPageBits;
  bool together = true;  // tokens of one sequence, one after the other; false: each has a sequence of its own
  int64_t bound = 0;     // above every position of this call, and of the same call in a repeated step

  Positions from(int64_t token) const {
    return {ids + token, sequences + token, pages, page_stride, page_bits, together, bound};
  }
};

struct Ops {
  const char* name;  // "scalar", "avx2", "avx512_plain", "avx512", "amx", "cuda", "emulated"
  // How many multiply-adds absorbed_attend does in the time of one of mha_attend, with these weights over a cache of
  // this format; null: 1, where both use the same units. The choice between absorbed and naive attention depends on it.
  double (*absorbed_speed)(const Weight& k_b, const Weight& v_b, FormatId cache) = nullptr;

  // Bytes of Exec::scratch that each group of operations needs. A table that overwrites a group sets its size too.
  struct GroupScratch {
    size_t (*matmul)(const ScratchLimits& limits);      // matmul, matmul_pair, matmul_heads, ffn, moe_ffn
    size_t (*mla_attend)(const ScratchLimits& limits);  // mla_attend, absorbed_attend
    size_t (*mha_attend)(const ScratchLimits& limits);
    size_t (*route)(const ScratchLimits& limits);
    size_t (*largest)(const ScratchLimits& limits);
  } scratch;
  // What the largest of them needs.
  size_t scratch_bytes(const ScratchLimits& limits) const {
    return std::max({scratch.matmul(limits), scratch.mla_attend(limits), scratch.mha_attend(limits),
                     scratch.route(limits), scratch.largest(limits)});
  }

  // Why a model of these sizes cannot run here; empty: it can.
  std::string (*refuses)(const ScratchLimits& limits);

  // Rows of the embedding: tokens [T] -> x [T,d].
  void (*embed)(const Exec& exec, const Weight& table, const int32_t* tokens, Mat<float> x);

  // y = w * x / sqrt(mean(x^2) + eps), the mean in float32 or better. x [T,d], w [d] -> y [T,d]; y may be x.
  void (*rms_norm)(const Exec& exec, Mat<const float> x, const float* w, float eps, Mat<float> y);

  // x [T,k], W [n,k] -> y [T,n].
  void (*matmul)(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);

  // Two matrices of one input: x [T,k], A [n,k], B [m,k] -> y_a [T,n], y_b [T,m].
  void (*matmul_pair)(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                      Mat<float> y_b);

  // One matrix per head: x [T,H,k], W [H,n,k] -> y [T,H,n]. Absorbs W^UK into q and applies W^UV.
  void (*matmul_heads)(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);

  // Rotates adjacent pairs (2j, 2j+1) in place: x [T,H,dr], positions [T].
  void (*rope)(const Exec& exec, const RopeTable& table, const int32_t* positions, Heads<float> x);

  // kv_a [T, r+dr] (c_kv before its norm, k_rope before rotation) -> the rows of the cache where the tokens stand.
  void (*store_latent)(const Exec& exec, Mat<const float> kv_a, const float* norm, float eps, const RopeTable& table,
                       const LatentCache& cache, const Positions& at);

  // Absorbed MLA (DeepSeek-V2 2.1.2, App. C): attends over the rows that each token sees.
  // q_c [T,H,r], q_rope [T,H,dr] -> o_c [T,H,r]; `scale` includes YaRN's mscale^2.
  void (*mla_attend)(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                     const Positions& at, float scale, Heads<float> o_c);

  // Absorbed MLA whole: matmul_heads with attn_k_b [H,r,nope] (stored transposed), mla_attend, matmul_heads with
  // attn_v_b [H,v,r]. q_nope [T,H,nope], q_rope [T,H,dr] -> o [T,H,v]; q_c, o_c [T,H,r] hold the values in between.
  // With integer weights, for which activations are rounded anyway, a table may attend in 16-bit integers, which
  // mla_attend, knowing no weights, does not.
  void (*absorbed_attend)(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                          const Weight& v_b, const LatentCache& cache, const Positions& at, float scale,
                          Heads<float> q_c, Heads<float> o_c, Heads<float> o);

  // Naive (expanded) MLA over the same cache, for tokens of one sequence: keys and values are decompressed with
  // attn_k_b [H,r,nope] (stored transposed) and attn_v_b [H,v,r]. q_nope [T,H,nope], q_rope [T,H,dr] -> o [T,H,v].
  void (*mha_attend)(const Exec& exec, Heads<const float> q_nope, Heads<const float> q_rope, const Weight& k_b,
                     const Weight& v_b, const LatentCache& cache, const Positions& at, float scale, Heads<float> o);

  // y = down(silu(gate x) * up x): x [T,d] -> y [T,d].
  void (*ffn)(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);

  // The router: x [T,d], gate_inp [E,d], bias [E] or null -> ids [T,K], weights [T,K], by falling selection score.
  void (*route)(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias, Mat<const float> x,
                int32_t* ids, float* weights);

  // y = sum_k weights[t,k] * expert[ids[t,k]](x) + shared(x), leaving out the experts that experts.slots says are
  // elsewhere; without shared(x) where shared.gate is empty. x [T,d] -> y [T,d].
  void (*moe_ffn)(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
                  const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

  // x += y, both [T,d].
  void (*add)(const Exec& exec, Mat<const float> y, Mat<float> x);

  // `add` of y, then of rest where it has data, then `rms_norm` of the sum: h [T,d], which is none of the others.
  void (*add_rms_norm)(const Exec& exec, Mat<const float> y, Mat<const float> rest, Mat<float> x, const float* w,
                       float eps, Mat<float> h);

  // The k largest of each row by falling value, of equal ones those of the lowest columns; NaN stands before all
  // numbers. Columns whose bits are set in `without` [ceil(n / 32)] count as -infinity. x [T,n] -> best [T,k], k at
  // most n and kMostLargest.
  void (*largest)(const Exec& exec, Mat<const float> x, const uint32_t* without, Mat<Entry> best);

  // Operations put together for a step of one token, where to begin one costs more than what it does: each gives what
  // those that it names give one after the other, up to the order of sums. All are null in a table that has none.
  struct OneToken {
    // add of the residual; rms_norm; matmul_pair with q, or q_a, and kv_a; rms_norm of q_a and matmul with q_b; rope of
    // q's last `table.rope_dim` values of each head; store_latent. h [1,d], q_a [1,Q] and kv_a [1, r+dr] hold the
    // values in between, or nothing -> q [1, H (dn + dr)]. Returns what is left of the residual: all, or x with all
    // added.
    Residual (*project)(const Exec& exec, const AttentionWeights& w, float eps, const Residual& residual,
                        const RopeTable& table, const LatentCache& cache, const Positions& at, Mat<float> h,
                        Mat<float> q_a, Mat<float> kv_a, Mat<float> q);

    // absorbed_attend, and matmul with w.output. q [1, H (dn + dr)] -> y [1,d]; q_c, o_c [1,H,r] and o [1, H dv] hold
    // the values in between, or nothing.
    void (*attend)(const Exec& exec, const AttentionWeights& w, Mat<const float> q, const LatentCache& cache,
                   const Positions& at, float scale, Heads<float> q_c, Heads<float> o_c, Mat<float> o, Mat<float> y);

    // add of the residual, rms_norm: x has all added -> h [1,d], and the same in `rounded`, once for all that is
    // multiplied with h: rounded_bytes(d) bytes, aligned to 16, which the table alone knows to read (Exec::rounded).
    static constexpr size_t rounded_bytes(int64_t d) { return size_t(d) * sizeof(float) + 64; }  // enough for any
    void (*norm)(const Exec& exec, const Residual& residual, const float* norm, float eps, Mat<float> h,
                 std::byte* rounded);

    // norm, and route of h -> ids, weights [1,K].
    void (*route)(const Exec& exec, const Routing& rule, const Weight& gate_inp, const float* bias,
                  const Residual& residual, const float* norm, float eps, Mat<float> h, std::byte* rounded,
                  int32_t* ids, float* weights);
  } one_token = {};
};

}  // namespace hearth
