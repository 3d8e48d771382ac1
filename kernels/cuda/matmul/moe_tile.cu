// Mixture of experts for many tokens: y [T,d] = sum_k weights[t,k] * expert[ids[t,k]](x) + shared(x).
//
// The T K slots (a token and one of its experts) are sorted by expert on the device (slot_order.h). Then come gate and
// up with gathered tokens, down, and a sum over the K slots of each token.
//
// Outputs of down wait in scratch as float32 until that sum, which adds them in the order of the slots. They can be
// large (DeepSeek-V3, 2048 tokens: 470 MB), so down and the sum go through the columns of y in slices.
//
// Bound: the products (tile_product.cuh).
#include "kernels/cuda/matmul/moe_tile.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/matmul/matmul_tile.h"
#include "kernels/cuda/matmul/slot_order.h"
#include "kernels/cuda/matmul/tile_input.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

int64_t slice_columns(int64_t n_slots, int64_t d, int64_t slice_bytes) {
  return std::min(d, std::max(kSliceColumns, slice_bytes / 4 / n_slots / kSliceColumns * kSliceColumns));
}

// At least n_slots * slice_columns(..), and it does not decrease with n_slots.
int64_t result_values(int64_t n_slots, int64_t d, int64_t slice_bytes) {
  return std::min(n_slots * d, std::max(slice_bytes / 4, n_slots * kSliceColumns));
}

struct Layout {
  uint16_t* x;
  SlotOrder order;
  std::byte* hidden;
  float* results;

  Layout(Scratch& scratch, int64_t T, int64_t E, int64_t K, int64_t d, int64_t n, int64_t slice_bytes) {
    x = scratch.take<uint16_t>(rounded_values(T, 1, d));
    order = SlotOrder(scratch, T * K, E, tile_tokens(TileShape::tiny));
    hidden = scratch.take<std::byte>(Hidden::bytes(std::max<int64_t>(T, 2) * K, n));  // half of one token is one token
    results = scratch.take<float>(result_values(T * K, d, slice_bytes));
  }
};

// Multiplies with down and sums over the slots, some columns of y at a time.
void down_and_sum(const Weight& down, TileShape shape, TileProduct p, const Layout& layout, const float* weights,
                  int64_t n_activated, bool shared, Mat<float> y, int64_t slice_bytes, const Queue& queue) {
  const int64_t slice = slice_columns(p.n_tokens, y.cols, slice_bytes);
  for (int64_t first = 0; first < y.cols; first += slice) {
    const Mat<float> part = y.columns(first, std::min(slice, y.cols - first));
    Weight rows = down;
    rows.data += size_t(first) * down.row_bytes;
    rows.n = part.cols;
    p.w = WeightRows(rows);
    p.n = int(part.cols);
    p.y = layout.results;
    p.y_stride = part.cols;
    tile_product(down.format->id, shape, p, queue);
    sum_slots(layout.results, layout.order, weights, n_activated, shared, part, queue);
  }
}

}  // namespace

size_t moe_tile_scratch(const ScratchLimits& l, int64_t slice_bytes) {
  if (l.n_experts == 0) return 0;
  Scratch measure;
  Layout(measure, l.max_tokens, l.n_experts, l.n_activated, l.dim, l.moe_inter_dim, slice_bytes);
  return std::max(measure.used(), ffn_tile_scratch(l));
}

void moe_tile(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
              const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y, int64_t slice_bytes) {
  assert(experts.down.k == experts.gate.n && experts.down.n == y.cols && experts.gate.k == x.cols);
  if (shared.gate) ffn_tile(exec, shared, x, y);
  const Queue& queue = queue_of(exec);
  const int64_t E = experts.n_experts(), K = n_activated;
  const int64_t slice = Hidden::in_halves(experts) ? std::max(int64_t(1), x.rows / 2) : x.rows;
  for (int64_t first = 0; first < x.rows; first += slice) {
    const int64_t T = std::min(slice, x.rows - first), n_slots = T * K;
    Scratch scratch(exec);
    const Layout layout(scratch, x.rows, E, K, x.cols, experts.gate.n, slice_bytes);
    const TileShape shape = choose_expert_tile(n_slots, E, exec.alike);
    sort_slots(ids + first * K, experts.slots, n_slots, K, E, tile_tokens(shape), layout.order, queue);

    TileProduct p;
    p.n_tokens = int(n_slots);
    p.work = layout.order.work;
    p.n_work = layout.order.n_work;
    p.max_work = int(SlotOrder::max_work(n_slots, E, tile_tokens(shape)));
    p.x_rows = layout.order.token_of;
    const Hidden hidden(experts, n_slots, takes_bytes(experts.down.format->id, shape, queue), layout.hidden);
    const TileInput tokens =
        round_tokens(one_head(x.slice(first, T)), layout.x, take_bytes(experts.gate, experts.up, shape, queue), queue);
    gated_product(experts, shape, p, tokens, hidden, queue);

    p.x_rows = nullptr;
    hidden.input(experts).give(experts.down, p);
    down_and_sum(experts.down, shape, p, layout, weights + first * K, K, bool(shared.gate), y.slice(first, T),
                 slice_bytes, queue);
  }
}

}  // namespace hearth::gpu
