// Launchers of the prefill matmuls: tokens become bf16 or bytes in scratch, then tile_product multiplies. Bounds: see
// tile_product.cuh and byte_product.cuh.
#include "kernels/cuda/matmul/matmul_tile.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/matmul/tile_input.h"

namespace hearth::gpu {
namespace {

int64_t heads_slice(int64_t T, int64_t H, int64_t k, int64_t slice_bytes) {
  return std::min(T, std::max(int64_t(128), slice_bytes / 4 / (H * padded_to_groups(k)) / 128 * 128));
}

struct FfnLayout {
  uint16_t* x;
  std::byte* hidden;

  FfnLayout(Scratch& scratch, int64_t T, int64_t d, int64_t n)
      : x(scratch.take<uint16_t>(rounded_values(T, 1, d))), hidden(scratch.take<std::byte>(Hidden::bytes(T, n))) {}
};

void queue_product(const Weight& w, const TileInput& x, TileShape shape, Heads<float> y, const Queue& queue) {
  TileProduct p;
  p.w = WeightRows(w);
  p.n = int(w.n);
  x.give(w, p);
  p.y = y.data;
  p.y_stride = y.token_stride;
  p.y_matrix_stride = y.head_stride;
  p.n_tokens = int(y.n_tokens);
  p.n_matrices = int(y.n_heads);
  tile_product(w.format->id, shape, p, queue);
}

}  // namespace

size_t matmul_tile_scratch(const ScratchLimits& l) {
  Scratch measure;
  measure.take<uint16_t>(rounded_values(l.max_tokens, 1, l.max_width));
  return measure.used();
}

void matmul_tile(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  assert(x.cols == w.k && y.cols == w.n && x.rows == y.rows);
  if (x.rows == 0) return;
  const Queue& queue = queue_of(exec);
  const TileShape shape = choose_tile(x.rows, w.n, 1);
  Scratch scratch(exec);
  TileInput input{x.data, x.stride};
  if (w.format->id != FormatId::f32) {
    uint16_t* const to = scratch.take<uint16_t>(rounded_values(x.rows, 1, x.cols));
    input = round_tokens(one_head(x), to, takes_bytes(w.format->id, shape, queue), queue);
  }
  queue_product(w, input, shape, {y.data, y.rows, 1, y.cols, y.stride, 0}, queue);
}

size_t matmul_heads_tile_scratch(const ScratchLimits& l, int64_t slice_bytes) {
  size_t most = 0;
  for (const int64_t k : {l.qk_nope_head_dim, l.kv_lora_rank, l.v_head_dim}) {
    if (k == 0) continue;
    Scratch measure;
    measure.take<uint16_t>(rounded_values(heads_slice(l.max_tokens, l.n_heads, k, slice_bytes), l.n_heads, k));
    most = std::max(most, measure.used());
  }
  return most;
}

void matmul_heads_tile(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y, int64_t slice_bytes) {
  assert(x.width == w.k && y.width == w.n && x.n_heads == w.count && y.n_heads == w.count);
  assert(x.n_tokens == y.n_tokens);
  const Queue& queue = queue_of(exec);
  const int64_t H = w.count;
  if (w.format->id == FormatId::f32) {
    const TileInput input{x.data, x.token_stride, x.head_stride};
    if (x.n_tokens > 0) queue_product(w, input, choose_tile(x.n_tokens, w.n, H), y, queue);
    return;
  }
  const int64_t slice = heads_slice(x.n_tokens, H, w.k, slice_bytes);
  for (int64_t first = 0; first < x.n_tokens; first += slice) {
    const int64_t n = std::min(slice, x.n_tokens - first);
    const TileShape shape = choose_tile(n, w.n, H);
    Scratch scratch(exec);
    uint16_t* const to = scratch.take<uint16_t>(rounded_values(n, H, w.k));
    const TileInput input = round_tokens(x.slice(first, n), to, takes_bytes(w.format->id, shape, queue), queue);
    queue_product(w, input, shape, y.slice(first, n), queue);
  }
}

size_t ffn_tile_scratch(const ScratchLimits& l) {
  Scratch measure;
  FfnLayout(measure, l.max_tokens, l.dim, std::max({l.inter_dim, l.moe_inter_dim, l.shared_inter_dim}));
  return measure.used();
}

void ffn_tile(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  assert(x.cols == w.gate.k && w.up.n == w.gate.n && w.up.k == w.gate.k && w.down.k == w.gate.n && y.cols == w.down.n);
  const Queue& queue = queue_of(exec);
  const int64_t slice = Hidden::in_halves(w) ? std::max(int64_t(1), x.rows / 2) : x.rows;
  for (int64_t first = 0; first < x.rows; first += slice) {
    const int64_t T = std::min(slice, x.rows - first);
    const TileShape shape = choose_tile(T, 2 * w.gate.n, 1), down = choose_tile(T, w.down.n, 1);
    Scratch scratch(exec);
    const FfnLayout layout(scratch, x.rows, x.cols, w.gate.n);
    const Hidden hidden(w, T, takes_bytes(w.down.format->id, down, queue), layout.hidden);
    const TileInput input =
        round_tokens(one_head(x.slice(first, T)), layout.x, take_bytes(w.gate, w.up, shape, queue), queue);
    TileProduct p;
    p.n_tokens = int(T);
    gated_product(w, shape, p, input, hidden, queue);
    queue_product(w.down, hidden.input(w), down, {y.row(first), T, 1, y.cols, y.stride, 0}, queue);
  }
}

}  // namespace hearth::gpu
