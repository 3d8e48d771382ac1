// Divides the operations of matmul_vec.h into launches of the kernel in matmul_vec_kernel.cuh. The number of launches
// is the cost here, for it bounds a decode step of a small model. So blocks prepare their own activations as long as
// that is little work compared with their rows, and the gated launch prepares the hidden rows for the next launch.
#include "kernels/cuda/matmul/matmul_vec.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/matmul/matmul_vec_prepare.cuh"
#include "kernels/cuda/matmul/weight_unit.cuh"
#include "kernels/scratch.h"

namespace hearth::gpu {
namespace vec {
namespace {

// Most bytes of activations that each block prepares for itself in shared memory.
constexpr int64_t kOwnRowBytes = 18 * 1024;
// Warps that fill a GPU: about 16 for each of an H200's 132 multiprocessors. With fewer, rows are split along k.
constexpr int64_t kEnoughWarps = 2048;

__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const float* x, int64_t x_token, int64_t x_matrix, int k, Apart apart, std::byte* rows) {
  const int64_t to = int64_t(blockIdx.y) * gridDim.x + blockIdx.x;
  prepare(x + blockIdx.x * x_token + blockIdx.y * x_matrix, k, apart, rows + to * prepared_bytes(apart, k),
          int(blockIdx.z * kThreads + threadIdx.x), int(gridDim.z * kThreads));
}

Apart apart_of(const Format& format) {
  Apart apart = kFloatRows;
  with_block(format.id, [&]<class Block>() { apart = kApart<Block>; });
  return apart;
}

int64_t pieces_of(const Weight& w) {
  const int64_t weights = piece_weights(int(w.format->block_elems), int(w.format->block_bytes));
  return (w.k + weights - 1) / weights;
}

Stack stack_of(const Weight& a, const Weight* b = nullptr) {
  Stack s;
  s.weights[0] = a.data;
  s.row_bytes = a.row_bytes;
  s.matrix_stride[0] = a.matrix_stride;
  if (b) {
    s.weights[1] = b->data;
    s.matrix_stride[1] = b->matrix_stride;
  }
  s.n = int(a.n);
  s.k = int(a.k);
  return s;
}

// Queues the launch; if x [T, n_matrices, k] is too large for the blocks to prepare, first a launch that prepares it.
void start(const Exec& exec, Job job, const Format& format, dim3 grid, std::byte* scratch) {
  int64_t own_bytes = 0;
  if (job.x) {
    const int k = std::max(job.dense.k, job.experts.k);
    const Apart apart = apart_of(format);
    own_bytes = job.n_tokens * prepared_bytes(apart, k);
    if (own_bytes > kOwnRowBytes) {
      const unsigned blocks = unsigned(k + 4 * kThreads - 1) / (4 * kThreads);
      launch("prepare activations", prepare_kernel, dim3(unsigned(job.n_tokens), grid.y, blocks), dim3(kThreads), 0,
             queue_of(exec), job.x, job.x_token, job.x_matrix, k, apart, scratch);
      job.x = nullptr;
      job.dense.rows = job.experts.rows = scratch;
      own_bytes = 0;
    }
  }
  for (const auto launch_family :
       {launch_floats, launch_small_blocks, launch_large_blocks, launch_codebooks, launch_iqk}) {
    if (launch_family(format.id, job, grid, own_bytes, queue_of(exec))) return;
  }
  assert(!"every format of the table has its kernels");
}

unsigned blocks_for(int64_t rows, int64_t rows_of_block) {
  return unsigned((rows + rows_of_block - 1) / rows_of_block);
}

// y [T,H,n] = x [T,H,k] times one matrix per head.
void product(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  assert(x.n_tokens >= 1 && x.n_tokens <= kMaxVecTokens && x.width == w.k && y.width == w.n);
  Scratch scratch(exec);
  Job job;
  job.dense = stack_of(w);
  job.n_tokens = int(x.n_tokens);
  job.x = x.data;
  job.x_token = x.token_stride;
  job.x_matrix = x.head_stride;
  job.y = y.data;
  job.y_token = y.token_stride;
  job.y_matrix = y.head_stride;
  const int64_t pieces = pieces_of(w), warps = (w.n + kWarpRows - 1) / kWarpRows * x.n_heads;
  while (job.split() < kWarps && job.split() * 2 <= pieces && warps * job.split() < kEnoughWarps) ++job.split_bits;
  job.dense.slices = job.split();
  const dim3 grid(blocks_for(w.n, kWarps / job.split() * kWarpRows), unsigned(x.n_heads));
  start(exec, job, *w.format, grid, scratch.take<std::byte>(x.n_tokens * x.n_heads * most_prepared_bytes(w.k)));
}

// The hidden rows of one gated FFN (all tokens) or of the chosen experts (all pairs), or of both, in scratch.
struct Hidden {
  const FfnWeights* w;
  std::byte* rows;
  float* gate_only;
};

Hidden take_hidden(Scratch& scratch, const FfnWeights& w, int64_t n_rows) {
  Hidden h{&w, scratch.take<std::byte>(n_rows * most_prepared_bytes(w.gate.n)), nullptr};
  if (w.gate.format != w.up.format) h.gate_only = scratch.take<float>(n_rows * w.gate.n);
  return h;
}

struct Tokens {
  int n, n_activated = 0;
  const int32_t* ids = nullptr;
  const float* weights = nullptr;
  const int32_t* slots = nullptr;
};

Job job_for(const Tokens& tokens) {
  Job job;
  job.n_tokens = tokens.n;
  job.n_activated = tokens.n_activated;
  job.ids = tokens.ids;
  job.slots = tokens.slots;
  job.weights = tokens.weights;
  return job;
}

// Gate and up in one launch if they have the same format, in two otherwise. Either of dense and experts may be null; if
// neither is, all four matrices have the same format.
void gated(const Exec& exec, const Tokens& tokens, const Hidden* dense, const Hidden* experts, Mat<const float> x,
           std::byte* scratch) {
  const FfnWeights& w = *(dense ? dense : experts)->w;
  const bool one_format = w.gate.format == w.up.format;
  for (int pass = 0; pass < (one_format ? 1 : 2); ++pass) {
    Job job = job_for(tokens);
    job.gated = true;
    job.gate_second = pass == 1;
    job.x = x.data;
    job.x_token = x.stride;
    const auto fill = [&](const Hidden& h) {
      Stack s = one_format ? stack_of(h.w->gate, &h.w->up) : stack_of(pass == 0 ? h.w->gate : h.w->up);
      s.hidden = h.rows;
      s.hidden_apart = apart_of(*h.w->down.format);
      s.gate_only = h.gate_only;
      return s;
    };
    if (dense) job.dense = fill(*dense);
    if (experts) job.experts = fill(*experts);
    const int64_t rows = kWarps * (one_format ? 2 : kWarpRows);
    const unsigned grid = blocks_for(job.dense.n, rows) + unsigned(job.n_pairs()) * blocks_for(job.experts.n, rows);
    start(exec, job, pass == 0 ? *w.gate.format : *w.up.format, dim3(grid, 1), scratch);
  }
}

// y [T,d] = (or, if `add`, +=) down times the hidden rows.
void down(const Exec& exec, const Tokens& tokens, const Hidden* dense, const Hidden* experts, bool add, Mat<float> y) {
  const Weight& w = (dense ? dense : experts)->w->down;
  Job job = job_for(tokens);
  job.y = y.data;
  job.y_token = y.stride;
  job.add = add;
  int64_t jobs = 0;
  if (experts) {
    job.experts = stack_of(experts->w->down);
    job.experts.rows = experts->rows;
    jobs = job.n_pairs();
  }
  if (dense) {
    job.dense = stack_of(dense->w->down);
    job.dense.rows = dense->rows;
    // Slices as long as an expert's row; without experts, one slice for each warp of a block.
    const int64_t slices = experts ? dense->w->down.k / experts->w->down.k : kWarps;
    job.dense.slices = int(std::clamp<int64_t>(slices, 1, pieces_of(dense->w->down)));
    jobs += job.dense.slices;
  }
  const int64_t warps = (w.n + kWarpRows - 1) / kWarpRows;
  while (job.split() < kWarps && job.split() * 2 <= jobs && warps * job.split() < 4 * kEnoughWarps) ++job.split_bits;
  start(exec, job, *w.format, dim3(blocks_for(w.n, kWarps / job.split() * kWarpRows), 1), nullptr);
}

}  // namespace
}  // namespace vec

void matmul_vec(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  vec::product(exec, w, {x.data, x.rows, 1, x.cols, x.stride, 0}, {y.data, y.rows, 1, y.cols, y.stride, 0});
}

void matmul_heads_vec(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  assert(x.n_heads == w.count && y.n_heads == w.count);
  vec::product(exec, w, x, y);
}

void ffn_vec(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  assert(x.rows >= 1 && x.rows <= kMaxVecTokens);
  Scratch scratch(exec);
  std::byte* prepared = scratch.take<std::byte>(x.rows * vec::most_prepared_bytes(x.cols));
  const vec::Hidden hidden = vec::take_hidden(scratch, w, x.rows);
  const vec::Tokens tokens{int(x.rows)};
  vec::gated(exec, tokens, &hidden, nullptr, x, prepared);
  vec::down(exec, tokens, &hidden, nullptr, false, y);
}

void moe_vec(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  assert(x.rows >= 1 && x.rows <= kMaxVecTokens);
  Scratch scratch(exec);
  std::byte* prepared = scratch.take<std::byte>(x.rows * vec::most_prepared_bytes(x.cols));
  const vec::Hidden chosen = vec::take_hidden(scratch, experts, x.rows * n_activated);
  const vec::Tokens tokens{int(x.rows), int(n_activated), ids, weights, experts.slots};
  if (!shared.gate) {
    vec::gated(exec, tokens, nullptr, &chosen, x, prepared);
    vec::down(exec, tokens, nullptr, &chosen, false, y);
    return;
  }
  const vec::Hidden dense = vec::take_hidden(scratch, shared, x.rows);
  const Format* format = experts.gate.format;
  if (experts.up.format == format && shared.gate.format == format && shared.up.format == format) {
    vec::gated(exec, tokens, &dense, &chosen, x, prepared);
  } else {
    const vec::Tokens all{int(x.rows)};
    vec::gated(exec, all, &dense, nullptr, x, prepared);
    vec::gated(exec, tokens, nullptr, &chosen, x, prepared);
  }
  if (shared.down.format == experts.down.format) {
    vec::down(exec, tokens, &dense, &chosen, false, y);
  } else {
    const vec::Tokens all{int(x.rows)};
    vec::down(exec, all, &dense, nullptr, false, y);
    vec::down(exec, tokens, nullptr, &chosen, true, y);
  }
}

size_t matmul_vec_scratch(const ScratchLimits& l) {
  const int64_t T = std::min<int64_t>(l.max_tokens, kMaxVecTokens);
  const int64_t head = std::max({l.qk_nope_head_dim, l.kv_lora_rank, l.v_head_dim});
  const auto rows = [](int64_t n, int64_t width) { return n * vec::most_prepared_bytes(width); };
  Scratch heads, ffn, moe;
  heads.take<std::byte>(std::max(rows(T, l.max_width), rows(T * l.n_heads, head)));
  const auto take_hidden = [&](Scratch& scratch, int64_t n_rows, int64_t width) {
    scratch.take<std::byte>(rows(n_rows, width));
    scratch.take<float>(n_rows * width);
  };
  ffn.take<std::byte>(rows(T, l.max_width));
  take_hidden(ffn, T, std::max(l.inter_dim, l.shared_inter_dim));
  moe.take<std::byte>(rows(T, l.max_width));
  take_hidden(moe, T * l.n_activated, l.moe_inter_dim);
  take_hidden(moe, T, l.shared_inter_dim);
  return std::max({heads.used(), ffn.used(), moe.used()});
}

}  // namespace hearth::gpu
