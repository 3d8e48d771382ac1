// Rows of a matrix in any of the formats, decoded to floats: tokens [T] -> x [T,d], or all rows in their order.
//
// A thread decodes one weight by quant/decode.h, the definition of the formats, so the result equals the scalar table's
// to the bit. Neighbouring threads read the same block, whose scales they then find in the cache.
//
// Bound by latency: a token is a few kilobytes in and d floats out, once per forward. Decoding whole blocks would read
// each byte once, but nothing here takes long enough to gain from it.
#include "kernels/cuda/embed.h"

#include <algorithm>

#include "kernels/cuda/formats.cuh"
#include "kernels/cuda/host/queue_of.h"

namespace hearth::gpu {
namespace {

constexpr int64_t kThreads = 256;
constexpr int64_t kMaxGridY = 65535;

// Where tokens is null, row t of x is row t of the table.
template <class Block>
__global__ void __launch_bounds__(kThreads)
    decode_rows_kernel(const std::byte* table, size_t row_bytes, const int32_t* tokens, Mat<float> x) {
  launch_dependents();
  wait_for_earlier();
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= x.cols) return;
  for (int64_t t = blockIdx.y; t < x.rows; t += gridDim.y) {
    const int64_t row = tokens ? int64_t(tokens[t]) : t;
    x.data[t * x.stride + i] = weight_at<Block>(table + size_t(row) * row_bytes, i);
  }
}

void decode_rows(const Exec& exec, const char* name, const Weight& w, const int32_t* rows, Mat<float> x) {
  if (x.rows == 0) return;
  const dim3 grid(unsigned((x.cols + kThreads - 1) / kThreads), unsigned(std::min(x.rows, kMaxGridY)));
  with_block(w.format->id, [&]<class Block>() {
    launch_early(name, decode_rows_kernel<Block>, grid, dim3(unsigned(kThreads)), 0, queue_of(exec), w.data,
                 w.row_bytes, rows, x);
  });
}

}  // namespace

void embed(const Exec& exec, const Weight& table, const int32_t* tokens, Mat<float> x) {
  decode_rows(exec, "embed", table, tokens, x);
}

void decode_matrix(const Exec& exec, const Weight& w, Mat<float> x) {
  decode_rows(exec, "decode_matrix", w, nullptr, x);
}

}  // namespace hearth::gpu
