// Tokens float32 -> two planes of bf16 in scratch, once for each operation, and products of gate and up. Bound of the
// rounding: bytes, four read and four written for each value.
#include "kernels/cuda/matmul/tile_input.h"

#include <algorithm>

#include "kernels/cuda/kernel.h"
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

bool float32(const Weight& w) {
  return w.format->id == FormatId::f32;
}

int64_t hidden_row_bytes(const FfnWeights& w) {
  return float32(w.down) ? w.down.k * 4 : padded_to_8(w.down.k) * 4;
}

}  // namespace

void TileInput::give(const Weight& w, TileProduct& product) const {
  product.k = int(w.k);
  if (float32(w)) {
    product.x = floats;
    product.x_stride = float_stride;
    product.x_matrix_stride = float_matrix_stride;
  } else {
    product.x = halves;
    product.x_low = half_low;
    product.x_stride = half_stride;
    product.x_matrix_stride = half_matrix_stride;
  }
}

int64_t rounded_values(int64_t T, int64_t H, int64_t k) {
  return 2 * T * H * padded_to_8(k);
}

TileInput round_tokens(Heads<const float> x, uint16_t* to, const Queue& queue) {
  const int64_t stride = padded_to_8(x.width), plane = x.n_tokens * x.n_heads * stride;
  const int64_t threads = std::min(kRoundThreads, round_up(stride / 2, 32));
  launch("round_tokens", round_kernel, dim3(unsigned(x.n_tokens), unsigned(x.n_heads)), dim3(unsigned(threads)), 0,
         queue, x, reinterpret_cast<uint32_t*>(to), plane / 2);
  return {x.data, x.token_stride, x.head_stride, to, stride, x.n_tokens * stride, plane};
}

int64_t Hidden::bytes(int64_t T, int64_t n) {
  return std::max(T, int64_t(2)) * padded_to_8(n) * 4;  // half of one token is still one token
}

bool Hidden::in_halves(const FfnWeights& w) {
  return w.gate.format != w.up.format;
}

Hidden::Hidden(const FfnWeights& w, int64_t T, std::byte* memory)
    : rows(memory),
      low(T * padded_to_8(w.down.k)),
      gates(in_halves(w) ? reinterpret_cast<float*>(memory + T * hidden_row_bytes(w)) : nullptr) {}

TileInput Hidden::input(const FfnWeights& w) const {
  TileInput input;
  input.floats = static_cast<const float*>(rows);
  input.float_stride = w.down.k;
  input.halves = static_cast<const uint16_t*>(rows);
  input.half_stride = padded_to_8(w.down.k);
  input.half_low = low;
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
  product.y_bf16 = !float32(w.down);
  product.y_low = hidden.low;
  product.y_stride = product.y_bf16 ? padded_to_8(w.down.k) : w.down.k;
  tile_product(w.up.format->id, shape, product, queue);
}

}  // namespace hearth::gpu
