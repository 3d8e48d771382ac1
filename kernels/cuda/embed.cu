// Rows of a matrix in any of the formats, decoded to floats: tokens [T] -> x [T,d], or all rows in their order.
//
// A thread decodes one weight by quant/decode.h, the definition of the formats, so what comes out is the scalar path's
// to the bit. Neighbours read the same block, and the header's bytes come from the cache.
//
// Bound by latency: a token is a few kilobytes in and d floats out, once per forward. Decoding whole blocks would read
// each byte once, but nothing here takes long enough to gain from it.
#include "kernels/cuda/embed.h"

#include <algorithm>

#include "kernels/cuda/device.h"
#include "quant/decode.h"

namespace hearth::gpu {
namespace {

constexpr int64_t kThreads = 256;
constexpr int64_t kMaxGridY = 65535;

// Weight i of a row in each format.
template <class Block>
struct BlockRow {
  static __device__ float at(const std::byte* row, int64_t i) {
    return decode(reinterpret_cast<const Block*>(row)[i / Block::kElems], int(i % Block::kElems));
  }
};
struct F32Row {
  static __device__ float at(const std::byte* row, int64_t i) { return reinterpret_cast<const float*>(row)[i]; }
};
struct F16Row {
  static __device__ float at(const std::byte* row, int64_t i) {
    return half_to_float(reinterpret_cast<const uint16_t*>(row)[i]);
  }
};
struct BF16Row {
  static __device__ float at(const std::byte* row, int64_t i) {
    return bf16_bits_to_float(reinterpret_cast<const uint16_t*>(row)[i]);
  }
};

// tokens null: row t of the table is row t of x.
template <class Row>
__global__ void __launch_bounds__(kThreads)
    decode_rows_kernel(const std::byte* table, size_t row_bytes, const int32_t* tokens, Mat<float> x) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= x.cols) return;
  for (int64_t t = blockIdx.y; t < x.rows; t += gridDim.y) {
    const int64_t row = tokens ? int64_t(tokens[t]) : t;
    x.data[t * x.stride + i] = Row::at(table + size_t(row) * row_bytes, i);
  }
}

using Kernel = void (*)(const std::byte*, size_t, const int32_t*, Mat<float>);

// The one list of formats here: a new format is a new line.
Kernel kernel_for(FormatId format) {
  switch (format) {
    case FormatId::f32:
      return decode_rows_kernel<F32Row>;
    case FormatId::f16:
      return decode_rows_kernel<F16Row>;
    case FormatId::bf16:
      return decode_rows_kernel<BF16Row>;
    case FormatId::q4_0:
      return decode_rows_kernel<BlockRow<BlockQ4_0>>;
    case FormatId::q4_1:
      return decode_rows_kernel<BlockRow<BlockQ4_1>>;
    case FormatId::q5_0:
      return decode_rows_kernel<BlockRow<BlockQ5_0>>;
    case FormatId::q5_1:
      return decode_rows_kernel<BlockRow<BlockQ5_1>>;
    case FormatId::q8_0:
      return decode_rows_kernel<BlockRow<BlockQ8_0>>;
    case FormatId::q2_k:
      return decode_rows_kernel<BlockRow<BlockQ2_K>>;
    case FormatId::q3_k:
      return decode_rows_kernel<BlockRow<BlockQ3_K>>;
    case FormatId::q4_k:
      return decode_rows_kernel<BlockRow<BlockQ4_K>>;
    case FormatId::q5_k:
      return decode_rows_kernel<BlockRow<BlockQ5_K>>;
    case FormatId::q6_k:
      return decode_rows_kernel<BlockRow<BlockQ6_K>>;
    case FormatId::iq4_nl:
      return decode_rows_kernel<BlockRow<BlockIQ4_NL>>;
    case FormatId::iq4_xs:
      return decode_rows_kernel<BlockRow<BlockIQ4_XS>>;
    case FormatId::f8_e4m3:
      return decode_rows_kernel<BlockRow<BlockF8_E4M3>>;
    case FormatId::i4_g128:
      return decode_rows_kernel<BlockRow<BlockI4_G128>>;
  }
  return nullptr;  // not reached: every FormatId is above
}

void decode_rows(const Exec& exec, const char* name, const Weight& w, const int32_t* rows, Mat<float> x) {
  if (x.rows == 0) return;
  const dim3 grid(unsigned((x.cols + kThreads - 1) / kThreads), unsigned(std::min(x.rows, kMaxGridY)));
  launch(name, kernel_for(w.format->id), grid, dim3(unsigned(kThreads)), 0, static_cast<cudaStream_t>(exec.stream),
         w.data, w.row_bytes, rows, x);
}

}  // namespace

void embed(const Exec& exec, const Weight& table, const int32_t* tokens, Mat<float> x) {
  decode_rows(exec, "embed", table, tokens, x);
}

void decode_matrix(const Exec& exec, const Weight& w, Mat<float> x) {
  decode_rows(exec, "decode_matrix", w, nullptr, x);
}

}  // namespace hearth::gpu
