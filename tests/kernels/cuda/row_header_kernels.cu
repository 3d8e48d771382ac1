#include "tests/kernels/cuda/row_header_kernels.h"

#include "kernels/cuda/matmul/matmul_vec_kernel.cuh"
#include "kernels/cuda/matmul/tile_product.cuh"
#include "tests/support/row_header.h"

namespace hearth::gpu {

template <>
struct Bits<test::BlockScaledQ8> : Packing<1, 2> {
  uint16_t scale_of_row, d;
  HEARTH_HD static constexpr unsigned low_at(unsigned k) { return Bits<BlockQ8_0>::low_at(k); }
  template <int n, class Bytes>
  GPU_FN void read(const test::BlockScaledQ8::Header& header, const Bytes& block, unsigned) {
    scale_of_row = header.scale;
    d = block.half(0);
  }
  GPU_FN float scale(unsigned, int) const { return half_to_float(scale_of_row) * half_to_float(d); }
  GPU_FN uint32_t levels(uint32_t low, uint32_t, unsigned, int) const { return low; }
};

}  // namespace hearth::gpu

namespace hearth::test {
namespace {

using namespace hearth::gpu;

template <class F>
void with_block_of(bool headed, const F& f) {
  headed ? f.template operator()<BlockScaledQ8>() : f.template operator()<BlockQ8_0>();
}

template <class Block>
__global__ void decode_kernel(const std::byte* rows, size_t row_bytes, Mat<float> x) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < x.cols) x.data[blockIdx.y * x.stride + i] = weight_at<Block>(rows + blockIdx.y * row_bytes, i);
}

}  // namespace

void decode_rows(bool headed, const Weight& w, Mat<float> x) {
  with_block_of(headed, [&]<class Block>() {
    launch("decode_rows", decode_kernel<Block>, dim3(unsigned(x.cols + 31) / 32, unsigned(x.rows)), dim3(32), 0,
           Queue{}, w.data, w.row_bytes, x);
  });
}

void multiply_one(bool headed, const Weight& w, Mat<const float> x, Mat<float> y) {
  vec::Job job;
  job.dense.weights[0] = w.data;
  job.dense.row_bytes = w.row_bytes;
  job.dense.matrix_stride[0] = w.matrix_stride;
  job.dense.n = int(w.n);
  job.dense.k = int(w.k);
  job.dense.input.x = x.data;
  job.dense.y = y.data;
  job.split_bits = 1;
  job.dense.slices = job.split();
  const int64_t rows_of_block = vec::kWarps / job.split() * vec::kWarpRows;
  const dim3 grid(unsigned((w.n + rows_of_block - 1) / rows_of_block), 1);
  with_block_of(headed, [&]<class Block>() {
    job.stage_bytes = vec::Piece<Block>::kStageBytes;
    const int64_t row_bytes = vec::prepared_bytes(kApart<Block>, w.k);
    const int64_t shared_bytes = vec::kWarps * job.stage_bytes + vec::kPartBytes + row_bytes;
    vec::launch_formats<FormatList<Row<FormatId::q8_0, Block>>>(job, grid, size_t(shared_bytes), true, Queue{});
  });
}

void multiply_many(bool headed, TileShape shape, const Weight& w, const uint16_t* x, Mat<float> y) {
  TileProduct p;
  p.w = WeightRows(w);
  p.n = int(w.n);
  p.k = int(w.k);
  p.x = x;
  p.x_stride = w.k;
  p.x_low = y.rows * w.k;
  p.y = y.data;
  p.y_stride = y.stride;
  p.n_tokens = int(y.rows);
  with_block_of(headed, [&]<class Block>() { tile_product_of<Block>(shape, p, Queue{}); });
}

}  // namespace hearth::test
