// Divides the operations of matmul_few.h into launches: activations are prepared, then few_kernel multiplies. Bounds:
// see few_kernel.cuh; preparing reads 4 bytes of each activation and writes 4.
#include "kernels/cuda/matmul/matmul_few.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/host/queue_of.h"
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/matmul/few_product.h"
#include "kernels/cuda/matmul/slot_order.h"
#include "kernels/scratch.h"

namespace hearth::gpu {
namespace few {
namespace {

constexpr int kPrepareThreads = 128;
// Warps that fill a GPU, 16 for each of an H200's 132 multiprocessors. With fewer, warps divide k.
constexpr int64_t kEnoughWarps = 2048;

// Four values of a token of a head: x -> rows, first all tokens of head 0.
__global__ void __launch_bounds__(kPrepareThreads)
    prepare_few_kernel(Heads<const float> x, Lanes lanes, std::byte* rows) {
  const unsigned place = blockIdx.z * kPrepareThreads + threadIdx.x;
  const int64_t first = first_value(lanes, place);
  if (first >= (x.width + kSpan - 1) / kSpan * kSpan) return;
  const float* from = x.data + blockIdx.x * x.token_stride + blockIdx.y * x.head_stride + first;
  float v[4], rest[4];
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) v[i] = first + i < x.width ? from[i] : 0.0f;
  uint4 parts{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), 0, 0};
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t pair = i < 2 ? parts.x : parts.y;
    rest[i] = v[i] - float_from_bits(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
  }
  parts.z = pack_bf16(rest[0], rest[1]);
  parts.w = pack_bf16(rest[2], rest[3]);
  const int64_t row = int64_t(blockIdx.y) * x.n_tokens + blockIdx.x;
  *reinterpret_cast<uint4*>(rows + row * row_bytes(x.width) + 16 * place) = parts;
}

Lanes lanes_of(const Weight& w) {
  return w.format->block_elems == 1 ? Lanes::octets : Lanes::quads;
}

// Activations, in memory where they are prepared for one matrix or another.
class Input {
 public:
  Input(Heads<const float> x, std::byte* rows, const Queue& queue) : x_(x), rows_(rows), queue_(queue) {}
  static int64_t bytes(int64_t n_rows, int64_t k) { return n_rows * row_bytes(k); }

  // Queues the preparing for w, if they are not prepared for it already.
  const std::byte* prepared_for(const Weight& w) {
    const Lanes lanes = lanes_of(w);
    if (!prepared_ || lanes_ != lanes) {
      const int64_t places = (x_.width + kSpan - 1) / kSpan * (kSpan / 4);
      launch(
          "prepare_few", prepare_few_kernel,
          dim3(unsigned(x_.n_tokens), unsigned(x_.n_heads), unsigned((places + kPrepareThreads - 1) / kPrepareThreads)),
          dim3(kPrepareThreads), 0, queue_, x_, lanes, rows_);
    }
    prepared_ = true;
    lanes_ = lanes;
    return rows_;
  }

 private:
  Heads<const float> x_;
  std::byte* rows_;
  const Queue& queue_;
  bool prepared_ = false;
  Lanes lanes_ = Lanes::quads;
};

Tiles tiles_for(int64_t n_tokens) {
  return n_tokens <= 8 ? Tiles::one : n_tokens <= 16 ? Tiles::two : Tiles::eight;
}

// Of n_slots of n_tokens: an expert has at most one slot of each token, but may have far fewer.
Tiles tiles_for_experts(int64_t n_tokens, int64_t n_slots, int64_t n_experts) {
  return n_tokens > 16 && n_slots < 6 * n_experts ? Tiles::two : tiles_for(n_tokens);
}

// So many warps share rows that a GPU is full, whatever the number of tokens, on which bits must not depend.
int split_bits(const Weight& w, int64_t rows, int64_t n_matrices) {
  const int64_t stage = w.format->block_elems == 1 ? kSpan : 2 * kSpan, stages = (w.k + stage - 1) / stage;
  const int64_t warps = (rows + kWarpRows - 1) / kWarpRows * n_matrices;
  int bits = 0;
  while (1 << bits < kWarps && 2 << bits <= stages && warps << bits < kEnoughWarps) ++bits;
  return bits;
}

Product product_of(const Weight& w, int64_t n_tokens) {
  Product p;
  p.w = WeightRows(w);
  p.n = int(w.n);
  p.k = int(w.k);
  p.n_tokens = int(n_tokens);
  return p;
}

// y [T,H,n] = x [T,H,k] times one matrix per head.
void heads(const Weight& w, Heads<const float> x, Input& input, Heads<float> y, const Queue& queue) {
  assert(x.n_tokens >= 1 && x.n_tokens <= kMaxFewTokens && x.width == w.k && y.width == w.n);
  Product p = product_of(w, x.n_tokens);
  p.x = input.prepared_for(w);
  p.x_matrix_stride = x.n_tokens * row_bytes(x.width);
  p.y = y.data;
  p.y_stride = y.token_stride;
  p.y_matrix_stride = y.head_stride;
  p.n_matrices = int(x.n_heads);
  p.split_bits = split_bits(w, w.n, x.n_heads);
  product(w.format->id, tiles_for(x.n_tokens), p, queue);
}

template <class T>
Heads<T> one_head(Mat<T> x) {
  return {x.data, x.rows, 1, x.cols, x.stride, 0};
}

Input input_in(Scratch& scratch, Heads<const float> x, const Queue& queue) {
  return {x, scratch.take<std::byte>(Input::bytes(x.n_tokens * x.n_heads, x.width)), queue};
}

// The hidden rows of a gated FFN, in scratch.
struct Hidden {
  std::byte* rows;
  float* gates;  // of gate alone, if up has another format

  Hidden(Scratch& scratch, int64_t n_rows, int64_t n, bool two_formats)
      : rows(scratch.take<std::byte>(Input::bytes(n_rows, n))),
        gates(two_formats ? scratch.take<float>(n_rows * n) : nullptr) {}
};

bool two_formats(const FfnWeights& w) {
  return w.gate.format != w.up.format;
}

// Experts: the slots of all tokens in order, and the tiles in which they are listed.
struct Slots {
  SlotOrder order;
  int64_t n = 0, n_experts = 0;
  Tiles tiles = Tiles::one;
};

void give(const Slots* slots, Product& p) {
  if (!slots) return;
  p.work = slots->order.work;
  p.n_work = slots->order.n_work;
  p.max_work = int(SlotOrder::max_work(slots->n, slots->n_experts, tile_tokens(slots->tiles)));
}

// With experts, of which there are several: two warps share rows.
int split_bits_of_ffn(const Weight& w, int64_t rows, const Slots* slots) {
  return slots ? std::min(1, split_bits(w, rows, 1)) : split_bits(w, rows, 1);
}

// hidden = silu(gate x) * (up x), of all tokens or of all slots.
void gated(const FfnWeights& w, int64_t n_tokens, const Slots* slots, Input& x, const Hidden& hidden,
           const Queue& queue) {
  const Tiles tiles = slots ? slots->tiles : tiles_for(n_tokens);
  const auto queue_product = [&](const Weight& from, Product p) {
    p.x = x.prepared_for(from);
    if (slots) p.x_rows = slots->order.token_of;
    give(slots, p);
    p.split_bits = split_bits_of_ffn(from, p.up.data ? 2 * from.n : from.n, slots);
    product(from.format->id, tiles, p, queue);
  };
  Product p = product_of(w.up, n_tokens);
  p.hidden = hidden.rows;
  p.hidden_lanes = lanes_of(w.down);
  if (two_formats(w)) {
    Product gate = product_of(w.gate, n_tokens);
    gate.y = hidden.gates;
    gate.y_stride = w.gate.n;
    queue_product(w.gate, gate);
    p.gate = hidden.gates;
  } else {
    p.w = WeightRows(w.gate);
    p.up = WeightRows(w.up);
  }
  queue_product(w.up, p);
}

// y [T or slots, d] = down times the hidden rows.
void down(const Weight& w, int64_t n_tokens, const Slots* slots, const Hidden& hidden, Mat<float> y,
          const Queue& queue) {
  Product p = product_of(w, n_tokens);
  p.x = hidden.rows;
  p.y = y.data;
  p.y_stride = y.stride;
  give(slots, p);
  p.split_bits = split_bits_of_ffn(w, w.n, slots);
  product(w.format->id, slots ? slots->tiles : tiles_for(n_tokens), p, queue);
}

}  // namespace

void product(FormatId format, Tiles tiles, const Product& p, const Queue& queue) {
  for (const auto multiply : {floats, small_blocks, large_blocks, codebooks, iqk}) {
    if (multiply(format, tiles, p, queue)) return;
  }
  assert(!"every format of the table has its kernels");
}

}  // namespace few

void matmul_few(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  matmul_heads_few(exec, w, few::one_head(x), few::one_head(y));
}

void matmul_pair_few(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                     Mat<float> y_b) {
  Scratch scratch(exec);
  const Queue& queue = queue_of(exec);
  few::Input input = few::input_in(scratch, few::one_head(x), queue);
  few::heads(a, few::one_head(x), input, few::one_head(y_a), queue);
  few::heads(b, few::one_head(x), input, few::one_head(y_b), queue);
}

void matmul_heads_few(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  assert(y.n_heads == x.n_heads);
  Scratch scratch(exec);
  few::Input input = few::input_in(scratch, x, queue_of(exec));
  few::heads(w, x, input, y, queue_of(exec));
}

namespace {

void ffn_of(Scratch& scratch, const FfnWeights& w, few::Input& x, Mat<float> y, const Queue& queue) {
  const few::Hidden hidden(scratch, y.rows, w.gate.n, few::two_formats(w));
  few::gated(w, y.rows, nullptr, x, hidden, queue);
  few::down(w.down, y.rows, nullptr, hidden, y, queue);
}

}  // namespace

void ffn_few(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  assert(x.rows >= 1 && x.rows <= kMaxFewTokens);
  Scratch scratch(exec);
  few::Input input = few::input_in(scratch, few::one_head(x), queue_of(exec));
  ffn_of(scratch, w, input, y, queue_of(exec));
}

void moe_few(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  assert(x.rows >= 1 && x.rows <= kMaxFewTokens);
  Scratch scratch(exec);
  const Queue& queue = queue_of(exec);
  const int64_t T = x.rows, n_slots = T * n_activated, E = experts.n_experts();
  few::Input input = few::input_in(scratch, few::one_head(x), queue);
  if (shared.gate) ffn_of(scratch, shared, input, y, queue);

  few::Slots slots;
  slots.n = n_slots;
  slots.n_experts = E;
  slots.tiles = few::tiles_for_experts(T, n_slots, E);
  slots.order = SlotOrder(scratch, n_slots, E, few::tile_tokens(few::Tiles::one));
  sort_slots(ids, experts.slots, n_slots, n_activated, E, few::tile_tokens(slots.tiles), slots.order, queue);
  const few::Hidden hidden(scratch, n_slots, experts.gate.n, few::two_formats(experts));
  few::gated(experts, n_slots, &slots, input, hidden, queue);
  float* const results = scratch.take<float>(n_slots * y.cols);
  few::down(experts.down, n_slots, &slots, hidden, {results, n_slots, y.cols, y.cols}, queue);
  sum_slots(results, slots.order, weights, n_activated, bool(shared.gate), y, queue);
}

size_t matmul_few_scratch(const ScratchLimits& l) {
  const int64_t T = std::min(l.max_tokens, kMaxFewTokens), n_slots = T * l.n_activated;
  const int64_t head = std::max({l.qk_nope_head_dim, l.kv_lora_rank, l.v_head_dim});
  Scratch heads, ffn, moe;
  heads.take<std::byte>(std::max(few::Input::bytes(T, l.max_width), few::Input::bytes(T * l.n_heads, head)));
  ffn.take<std::byte>(few::Input::bytes(T, l.max_width));
  few::Hidden(ffn, T, std::max(l.inter_dim, l.shared_inter_dim), true);
  if (l.n_experts > 0) {
    moe.take<std::byte>(few::Input::bytes(T, l.dim));
    few::Hidden(moe, T, l.shared_inter_dim, true);
    SlotOrder(moe, n_slots, l.n_experts, few::tile_tokens(few::Tiles::one));
    few::Hidden(moe, n_slots, l.moe_inter_dim, true);
    moe.take<float>(n_slots * l.dim);
  }
  return std::max({heads.used(), ffn.used(), moe.used()});
}

}  // namespace hearth::gpu
