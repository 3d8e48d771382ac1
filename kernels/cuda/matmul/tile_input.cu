// Tokens float32 -> two planes of bf16 or token groups in scratch, once for each operation, and products of gate and
// up. Bound of the rounding: bytes, four read and four (of groups, two and a half) written for each value.
#include "kernels/cuda/matmul/tile_input.h"

#include <algorithm>

#include "kernels/cuda/kernel.h"
#include "kernels/rounding.h"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

constexpr int64_t kRoundThreads = 256;

// A block takes one token of one head.
__global__ void __launch_bounds__(kRoundThreads) round_kernel(Heads<const float> x, uint32_t* to, int64_t low) {
  const int64_t pairs = (x.width + 7) / 8 * 4;
  const float* row = x.data + blockIdx.x * x.token_stride + blockIdx.y * x.head_stride;
  to += (blockIdx.y * x.n_tokens + blockIdx.x) * pairs;
  for (int64_t i = threadIdx.x; i < pairs; i += blockDim.x) {
    const float left = 2 * i < x.width ? row[2 * i] : 0.0f, right = 2 * i + 1 < x.width ? row[2 * i + 1] : 0.0f;
    const uint32_t high = pack_bf16(left, right);
    to[i] = high;
    to[i + low] =
        pack_bf16(left - bf16_bits_to_float(uint16_t(high)), right - bf16_bits_to_float(uint16_t(high >> 16)));
  }
}

// Four of the 64 values of a group in each of 16 neighbouring lanes. As in matmul_vec_prepare.cuh, magnitudes are
// compared as integers, in which NaN is the largest and becomes the scale.
GPU_FN void store_group(const float (&x)[4], bool there, TokenGroup* to) {
  const int part = lane_of_thread() % 16;
  int largest = 0;
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) largest = max(largest, int(float_bits(x[i]) & 0x7fffffffu));
  largest = warp_max<16>(largest);
  const float magnitude = float_from_bits(uint32_t(largest));
  const float inverse = magnitude > 0 ? kMostLevel / magnitude : 0.0f;
  uint32_t high = 0, low = 0;
  int sum = 0;
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int level = max(-kMostLevel, min(kMostLevel, round_to_int(x[i] * inverse)));
    high |= (uint32_t(level + 128) >> 8 & 255) << 8 * i;
    low |= (uint32_t(level) & 255) << 8 * i;
    sum += level;
  }
  const int sum_of_16 = warp_sum<4>(sum), sum_of_32 = warp_sum<8>(sum);
  if (!there) return;
  reinterpret_cast<uint32_t*>(to->high)[part] = high;
  reinterpret_cast<uint32_t*>(to->low)[part] = low;
  if (part % 4 == 0) to->sums_of_16[part / 4] = float(sum_of_16);
  if (part % 8 == 0) to->sums_of_32[part / 8] = float(sum_of_32);
  if (part == 0) to->scale = magnitude / kMostLevel;
}

// A block takes one token of one head. `to` may be where x is: each warp reads two groups before it writes them.
__global__ void __launch_bounds__(kRoundThreads) group_kernel(Heads<const float> x, TokenGroup* to) {
  const int64_t n = (x.width + TokenGroup::kValues - 1) / TokenGroup::kValues;
  const float* row = x.data + blockIdx.x * x.token_stride + blockIdx.y * x.head_stride;
  to += (blockIdx.y * x.n_tokens + blockIdx.x) * n;
  for (int64_t first = 2 * warp_of_thread(); first < n; first += blockDim.x / 16) {
    const int64_t group = first + lane_of_thread() / 16, at = group * TokenGroup::kValues + lane_of_thread() % 16 * 4;
    float values[4];
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) values[i] = at + i < x.width ? row[at + i] : 0.0f;
    __syncwarp();
    store_group(values, group < n, to + group);
  }
}

bool float32(const Weight& w) {
  return w.format->id == FormatId::f32;
}

// Values of a hidden row, four bytes each.
int64_t hidden_row(const FfnWeights& w, bool in_bytes) {
  return in_bytes ? padded_to_groups(w.down.k) : float32(w.down) ? w.down.k : padded_to_8(w.down.k);
}

}  // namespace

void TileInput::give(const Weight& w, TileProduct& product) const {
  product.k = int(w.k);
  if (float32(w)) {
    product.x = floats;
    product.x_stride = float_stride;
    product.x_matrix_stride = float_matrix_stride;
  } else if (groups) {
    product.x = groups;
    product.x_bytes = true;
    product.x_stride = group_stride;
    product.x_matrix_stride = group_matrix_stride;
  } else {
    product.x = halves;
    product.x_low = half_low;
    product.x_stride = half_stride;
    product.x_matrix_stride = half_matrix_stride;
  }
}

int64_t rounded_values(int64_t T, int64_t H, int64_t k) {
  return 2 * T * H * padded_to_groups(k);
}

TileInput round_tokens(Heads<const float> x, uint16_t* to, bool in_bytes, const Queue& queue) {
  TileInput input{x.data, x.token_stride, x.head_stride};
  const int64_t stride = in_bytes ? padded_to_groups(x.width) : padded_to_8(x.width);
  const dim3 blocks(unsigned(x.n_tokens), unsigned(x.n_heads));
  const dim3 threads(unsigned(std::min(kRoundThreads, round_up(stride / (in_bytes ? 4 : 2), 32))));
  if (in_bytes) {
    auto* const groups = reinterpret_cast<TokenGroup*>(to);
    launch("group_tokens", group_kernel, blocks, threads, 0, queue, x, groups);
    input.groups = groups;
    input.group_stride = stride;
    input.group_matrix_stride = x.n_tokens * stride;
  } else {
    const int64_t plane = x.n_tokens * x.n_heads * stride;
    launch("round_tokens", round_kernel, blocks, threads, 0, queue, x, reinterpret_cast<uint32_t*>(to), plane / 2);
    input.halves = to;
    input.half_stride = stride;
    input.half_matrix_stride = x.n_tokens * stride;
    input.half_low = plane;
  }
  return input;
}

bool take_bytes(const Weight& a, const Weight& b, TileShape shape, const Queue& queue) {
  const auto takes = [&](const Weight& w) { return takes_bytes(w.format->id, shape, queue); };
  return (takes(a) || float32(a)) && (takes(b) || float32(b)) && (takes(a) || takes(b));
}

int64_t Hidden::bytes(int64_t T, int64_t n) {
  return std::max(T, int64_t(2)) * padded_to_groups(n) * 4;  // half of one token is still one token
}

bool Hidden::in_halves(const FfnWeights& w) {
  return w.gate.format != w.up.format;
}

Hidden::Hidden(const FfnWeights& w, int64_t T, bool in_bytes, std::byte* memory)
    : rows(memory),
      n_rows(T),
      in_bytes(in_bytes),
      gates(in_halves(w) ? reinterpret_cast<float*>(memory + T * hidden_row(w, in_bytes) * 4) : nullptr) {}

TileInput Hidden::input(const FfnWeights& w) const {
  const int64_t stride = hidden_row(w, in_bytes);
  TileInput input;
  if (float32(w.down)) {
    input.floats = static_cast<const float*>(rows);
    input.float_stride = stride;
  } else if (in_bytes) {
    input.groups = static_cast<const TokenGroup*>(rows);
    input.group_stride = stride;
  } else {
    input.halves = static_cast<const uint16_t*>(rows);
    input.half_stride = stride;
    input.half_low = n_rows * stride;
  }
  return input;
}

void gated_product(const FfnWeights& w, TileShape shape, TileProduct product, const TileInput& x, const Hidden& hidden,
                   const Queue& queue) {
  product.n = int(w.gate.n);
  if (hidden.gates) {
    TileProduct gate = product;
    gate.w = WeightRows(w.gate);
    x.give(w.gate, gate);
    gate.y = hidden.gates;
    gate.y_stride = w.gate.n;
    tile_product(w.gate.format->id, shape, gate, queue);
    product.w = WeightRows(w.up);
    product.gate = hidden.gates;
  } else {
    product.w = WeightRows(w.gate);
    product.up = WeightRows(w.up);
  }
  x.give(w.up, product);
  product.y = hidden.rows;
  product.y_bf16 = !float32(w.down) && !hidden.in_bytes;
  product.y_stride = hidden_row(w, hidden.in_bytes);
  product.y_low = hidden.n_rows * product.y_stride;
  tile_product(w.up.format->id, shape, product, queue);
  if (hidden.in_bytes) {  // a group's scale is known only when all of it is there
    const Mat<const float> floats{static_cast<const float*>(hidden.rows), hidden.n_rows, w.down.k, product.y_stride};
    round_tokens(one_head(floats), static_cast<uint16_t*>(hidden.rows), true, queue);
  }
}

}  // namespace hearth::gpu
