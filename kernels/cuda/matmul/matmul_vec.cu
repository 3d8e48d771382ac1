// Divides the operations of matmul_vec.h into launches of the kernel in matmul_vec_kernel.cuh. The number of launches
// is the cost here, for it bounds a decode step of a small model. So blocks prepare their own activations as long as
// that is little work compared with their rows, most of them by copying what a norm has rounded; and the gated launch
// prepares the hidden rows for the next launch.
#include "kernels/cuda/matmul/matmul_vec.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/matmul/matmul_vec_input.cuh"
#include "kernels/cuda/matmul/matmul_vec_loop.cuh"
#include "kernels/scratch.h"

namespace hearth::gpu {
namespace vec {
namespace {

// Most bytes of activations that each block prepares for itself in shared memory.
constexpr int64_t kOwnRowBytes = 18 * 1024;
// Warps that fill a GPU: about 16 for each of an H200's 132 multiprocessors. With fewer, rows are split along k.
constexpr int64_t kEnoughWarps = 2048;

__global__ void __launch_bounds__(kThreads)
    prepare_kernel(const float* x, int64_t x_matrix, int k, Apart apart, std::byte* rows) {
  launch_dependents();
  wait_for_earlier();
  const SumRow source{x + blockIdx.x * x_matrix, nullptr, nullptr, 1.0f, k};
  prepare(source, k, apart, rows + blockIdx.x * prepared_bytes(apart, k), int(blockIdx.y * kThreads + threadIdx.x),
          int(gridDim.y * kThreads));
}

int64_t pieces_of(const Stack& s) {
  const Format& format = format_of(s.format);
  const int64_t weights = piece_weights(int(format.block_elems), int(format.block_bytes));
  return (s.k + weights - 1) / weights;
}

int stage_bytes_of(const Format& format) {
  int bytes = 0;
  with_block(format.id, [&]<class Block>() { bytes = Piece<Block>::kStageBytes; });
  return bytes;
}

// The stacks that a launch has.
template <class F>
void for_each_stack(Job& job, const F& f) {
  for (Stack* s : {&job.dense, &job.beside, &job.experts}) {
    if (s->n > 0) f(*s);
  }
}

// Queues the launch; own_bytes: of the row that each block prepares, 0 where all are prepared.
void start(const Exec& exec, Job& job, dim3 grid, int64_t own_bytes) {
  const Stack* first = nullptr;
  bool mixed = false;
  for_each_stack(job, [&](Stack& s) {
    first = first ? first : &s;
    mixed = mixed || s.format != first->format;
    job.stage_bytes = std::max(job.stage_bytes, stage_bytes_of(format_of(s.format)));
  });
  const size_t shared = size_t(kWarps) * size_t(job.stage_bytes) + kPartBytes + size_t(own_bytes);
  const Queue& queue = queue_of(exec);
  if (mixed) {
    launch_mixed(job, grid, shared, own_bytes > 0, queue);
    return;
  }
  for (const auto launch_family :
       {launch_floats, launch_small_blocks, launch_large_blocks, launch_codebooks, launch_iqk}) {
    if (launch_family(first->format, job, grid, shared, own_bytes > 0, queue)) return;
  }
  assert(!"every format of the table has its kernels");
}

// Bytes of the row that each block prepares. Where that is too long, rows are prepared by a launch before, in scratch,
// and the blocks prepare none.
int64_t give_rows(const Exec& exec, Job& job, int64_t n_matrices, std::byte* scratch) {
  int64_t own = 0;
  for_each_stack(job, [&](Stack& s) {
    const Apart apart = apart_of(format_of(s.format));
    if (!s.input.rows) own = std::max(own, own_row_bytes(s.input, apart, s.k));
  });
  if (own <= kOwnRowBytes) return own;
  for_each_stack(job, [&](Stack& s) {
    assert(!s.input.norm && s.input.pieces.n == 0 && "only plain rows may be as long");
    const Apart apart = apart_of(format_of(s.format));
    const unsigned blocks = unsigned(s.k + 4 * kThreads - 1) / (4 * kThreads);
    launch_early("prepare activations", prepare_kernel, dim3(unsigned(n_matrices), blocks), dim3(kThreads), 0,
                 queue_of(exec), s.input.x, s.input.x_matrix, s.k, apart, scratch);
    s.input.rows = scratch;
    scratch += n_matrices * prepared_bytes(apart, s.k);
  });
  return 0;
}

unsigned blocks_for(int64_t rows, int64_t rows_of_block) {
  return unsigned((rows + rows_of_block - 1) / rows_of_block);
}

// The hidden rows of one gated FFN, or of the chosen experts, or of both, in scratch.
struct Hidden {
  const FfnWeights* w;
  std::byte* rows;
  float* gate_only;

  bool one_pass() const { return w->gate.format == w->up.format; }
};

Hidden take_hidden(Scratch& scratch, const FfnWeights& w, int64_t n_rows) {
  Hidden h{&w, scratch.take<std::byte>(n_rows * most_prepared_bytes(w.gate.n)), nullptr};
  if (!h.one_pass()) h.gate_only = scratch.take<float>(n_rows * w.gate.n);
  return h;
}

struct Chosen {
  int n_activated = 0;
  const int32_t* ids = nullptr;
  const float* weights = nullptr;
  const int32_t* slots = nullptr;

  void give(Job& job) const {
    job.n_activated = n_activated;
    job.ids = ids;
    job.slots = slots;
    job.weights = weights;
  }
};

// Gate and up in one launch if they have the same format, in two otherwise. Either of dense and experts may be null; if
// neither is, the matrices of each have the same format.
void gated(const Exec& exec, const Chosen& chosen, const Hidden* dense, const Hidden* experts, Mat<const float> x,
           std::byte* scratch) {
  const bool one_pass = (dense ? dense : experts)->one_pass();
  for (int pass = 0; pass < (one_pass ? 1 : 2); ++pass) {
    Job job;
    job.kind = Kind::gated;
    job.gate_second = pass == 1;
    const auto fill = [&](const Hidden& h) {
      Stack s = one_pass ? stack_of(h.w->gate, &h.w->up) : stack_of(pass == 0 ? h.w->gate : h.w->up);
      s.input.x = x.data;
      s.input.rounded = exec.rounded;
      s.prepared = h.rows;
      s.prepared_apart = apart_of(*h.w->down.format);
      s.gate_only = h.gate_only;
      return s;
    };
    const int64_t rows = kWarps * (one_pass ? 2 : kWarpRows);
    unsigned grid = 0;
    if (dense) {
      job.dense = fill(*dense);
      grid += blocks_for(job.dense.n, rows);
    }
    if (experts) {
      chosen.give(job);
      job.experts = fill(*experts);
      grid += unsigned(chosen.n_activated) * blocks_for(job.experts.n, rows);
    }
    const int64_t own = give_rows(exec, job, 1, scratch);
    start(exec, job, dim3(grid, 1), own);
  }
}

// y [d] = (or, if `add`, +=) down times the hidden rows.
void down(const Exec& exec, const Chosen& chosen, const Hidden* dense, const Hidden* experts, bool add, float* y) {
  Job job;
  job.kind = Kind::sum;
  job.add = add;
  int64_t jobs = 0;
  if (experts) {
    chosen.give(job);
    job.experts = stack_of(experts->w->down);
    job.experts.input.rows = experts->rows;
    job.experts.y = y;
    jobs = chosen.n_activated;
  }
  if (dense) {
    job.dense = stack_of(dense->w->down);
    job.dense.input.rows = dense->rows;
    job.dense.y = y;
    // Slices as long as an expert's row; without experts, one slice for each warp of a block.
    const int64_t slices = experts ? dense->w->down.k / experts->w->down.k : kWarps;
    job.dense.slices = int(std::clamp<int64_t>(slices, 1, pieces_of(job.dense)));
    jobs += job.dense.slices;
  }
  const int64_t n = (dense ? dense : experts)->w->down.n, warps = (n + kWarpRows - 1) / kWarpRows;
  while (job.split() < kWarps && job.split() * 2 <= jobs && warps * job.split() < 4 * kEnoughWarps) ++job.split_bits;
  start(exec, job, dim3(blocks_for(n, kWarps / job.split() * kWarpRows), 1), 0);
}

}  // namespace

Apart apart_of(const Format& format) {
  Apart apart = kFloatRows;
  with_block(format.id, [&]<class Block>() { apart = kApart<Block>; });
  return apart;
}

bool in_one_launch(const Format& a, const Format& b) {
  return a.id == b.id || (contains(MixedFormats{}, a.id) && contains(MixedFormats{}, b.id));
}

bool prepares_own(const Format& format, int64_t k) {
  return prepared_bytes(apart_of(format), k) <= kOwnRowBytes;
}

Stack stack_of(const Weight& w, const Weight* second) {
  Stack s;
  s.format = w.format->id;
  s.weights[0] = w.data;
  s.row_bytes = w.row_bytes;
  s.matrix_stride[0] = w.matrix_stride;
  if (second) {
    s.weights[1] = second->data;
    s.matrix_stride[1] = second->matrix_stride;
  }
  s.n = int(w.n);
  s.k = int(w.k);
  return s;
}

void launch_product(const Exec& exec, Job job, int64_t n_matrices, std::byte* scratch) {
  const int64_t own = give_rows(exec, job, n_matrices, scratch);
  int64_t warps = 0, pieces = kWarps;
  int most_bits = 3;
  for_each_stack(job, [&](Stack& s) {
    warps += blocks_for(s.n, kWarpRows) * (&s == &job.dense ? n_matrices : 1);
    pieces = std::min(pieces, pieces_of(s));
    if (s.output == Output::prepared) most_bits = 1;  // blocks have whole groups of 16 rows
  });
  while (job.split_bits < most_bits && job.split() * 2 <= pieces && warps * job.split() < kEnoughWarps) {
    ++job.split_bits;
  }
  const int64_t rows = kWarps / job.split() * kWarpRows;
  if (job.dense.input.pieces.n > 0) {  // not more blocks than fill the GPU, for each merges its head's pieces
    const int64_t sets = blocks_for(job.dense.n, rows), of_head = queue_of(exec).multiprocessors / n_matrices;
    job.turns = int(blocks_for(sets, std::clamp<int64_t>(of_head, 1, sets)));
  }
  for_each_stack(job, [&](Stack& s) { s.slices = job.split(); });
  unsigned grid = blocks_for(job.dense.n, rows * job.turns);
  if (job.beside.n > 0) {
    job.beside_from = grid;
    grid += blocks_for(job.beside.n, rows);
  }
  start(exec, job, dim3(grid, unsigned(n_matrices)), own);
}

}  // namespace vec

void matmul_vec(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  matmul_heads_vec(exec, w, {x.data, x.rows, 1, x.cols, x.stride, 0}, {y.data, y.rows, 1, y.cols, y.stride, 0});
}

void matmul_heads_vec(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  assert(x.n_tokens == 1 && x.n_heads == y.n_heads && x.width == w.k && y.width == w.n);
  Scratch scratch(exec);
  vec::Job job;
  job.dense = vec::stack_of(w);
  job.dense.input.x = x.data;
  job.dense.input.x_matrix = x.head_stride;
  job.dense.input.rounded = exec.rounded;
  job.dense.y = y.data;
  job.dense.y_matrix = y.head_stride;
  vec::launch_product(exec, job, x.n_heads, scratch.take<std::byte>(vec::prepared_scratch(x.n_heads, w.k)));
}

void ffn_vec(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  assert(x.rows == 1);
  Scratch scratch(exec);
  std::byte* prepared = scratch.take<std::byte>(vec::prepared_scratch(1, x.cols));
  const vec::Hidden hidden = vec::take_hidden(scratch, w, 1);
  vec::gated(exec, {}, &hidden, nullptr, x, prepared);
  vec::down(exec, {}, &hidden, nullptr, false, y.data);
}

void moe_vec(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  assert(x.rows == 1);
  Scratch scratch(exec);
  std::byte* prepared = scratch.take<std::byte>(vec::prepared_scratch(1, x.cols));
  const vec::Hidden chosen = vec::take_hidden(scratch, experts, n_activated);
  const vec::Chosen which{int(n_activated), ids, weights, experts.slots};
  if (!shared.gate) {
    vec::gated(exec, which, nullptr, &chosen, x, prepared);
    vec::down(exec, which, nullptr, &chosen, false, y.data);
    return;
  }
  const vec::Hidden dense = vec::take_hidden(scratch, shared, 1);
  if (chosen.one_pass() && dense.one_pass() && vec::in_one_launch(*experts.gate.format, *shared.gate.format)) {
    vec::gated(exec, which, &dense, &chosen, x, prepared);
  } else {
    vec::gated(exec, {}, &dense, nullptr, x, prepared);
    vec::gated(exec, which, nullptr, &chosen, x, prepared);
  }
  if (vec::in_one_launch(*shared.down.format, *experts.down.format)) {
    vec::down(exec, which, &dense, &chosen, false, y.data);
  } else {
    vec::down(exec, {}, &dense, nullptr, false, y.data);
    vec::down(exec, which, nullptr, &chosen, true, y.data);
  }
}

size_t matmul_vec_scratch(const ScratchLimits& l) {
  const int64_t head = std::max({l.qk_nope_head_dim, l.kv_lora_rank, l.v_head_dim});
  Scratch heads, ffn, moe;
  heads.take<std::byte>(std::max(vec::prepared_scratch(1, l.max_width), vec::prepared_scratch(l.n_heads, head)));
  const auto take_hidden = [&](Scratch& scratch, int64_t n_rows, int64_t width) {
    scratch.take<std::byte>(n_rows * vec::most_prepared_bytes(width));
    scratch.take<float>(n_rows * width);
  };
  ffn.take<std::byte>(vec::prepared_scratch(1, l.max_width));
  take_hidden(ffn, 1, std::max(l.inter_dim, l.shared_inter_dim));
  moe.take<std::byte>(vec::prepared_scratch(1, l.max_width));
  take_hidden(moe, l.n_activated, l.moe_inter_dim);
  take_hidden(moe, 1, l.shared_inter_dim);
  return std::max({heads.used(), ffn.used(), moe.used()});
}

}  // namespace hearth::gpu
