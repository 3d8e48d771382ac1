// y [T,n] = x [T,k] * W [n,k]^T for F32 weights, in float32 throughout: matrices in F32 are small and need the
// precision (routers). Tiles of 32 tokens x 32 rows, 32 weights per step; a thread computes four tokens of one row.
//
// Bound: shared memory (five values read for four products). A plain kernel is enough, because these matrices cost
// little compared with the others.
#include "kernels/cuda/matmul/tile_store.cuh"

namespace hearth::gpu {
namespace {

constexpr int kSide = 32, kThreads = 256, kTokensOfThread = kSide * kSide / kThreads;

// Loads columns k0 .. k0 + kSide - 1 of kSide rows of a matrix; zeros beyond its n rows and k columns.
template <class Row>
GPU_FN void load_tile(float (&tile)[kSide * (kSide + 1)], int n, int k, int k0, Row row) {
  for (int at = int(threadIdx.x); at < kSide * kSide; at += kThreads) {
    const int i = at / kSide, j = at % kSide;
    tile[i * (kSide + 1) + j] = i < n && k0 + j < k ? row(i)[k0 + j] : 0.0f;
  }
}

__global__ void __launch_bounds__(kThreads) float32_kernel(TileProduct p) {
  GPU_SHARED(float, xs, kSide*(kSide + 1));
  GPU_SHARED(float, ws, kSide*(kSide + 1));
  GPU_SHARED(float, us, kSide*(kSide + 1));
  TileWork work;
  if (!find_work(p, kSide, work)) return;
  const float* x = static_cast<const float*>(p.x) + (p.work ? 0 : work.matrix * p.x_matrix_stride);
  const int first_row = int(blockIdx.y) * kSide, column = lane_of_thread(), row = warp_of_thread() * kTokensOfThread;
  const auto weights = [&](const WeightRows& w, int i) {
    return reinterpret_cast<const float*>(w.data + size_t(work.matrix) * w.matrix_stride +
                                          size_t(first_row + i) * w.row_bytes);
  };

  for (int first = 0; first < work.n; first += kSide) {  // the list of work may be made for larger tiles
    float sum[kTokensOfThread] = {}, up[kTokensOfThread] = {};
    for (int k0 = 0; k0 < p.k; k0 += kSide) {
      __syncthreads();
      load_tile(xs, work.n - first, p.k, k0, [&](int i) {
        const int token = work.first + first + i;
        return x + int64_t(p.x_rows ? p.x_rows[token] : token) * p.x_stride;
      });
      load_tile(ws, p.n - first_row, p.k, k0, [&](int i) { return weights(p.w, i); });
      if (p.up.data) load_tile(us, p.n - first_row, p.k, k0, [&](int i) { return weights(p.up, i); });
      __syncthreads();
      for (int j = 0; j < kSide; ++j) {
        GPU_UNROLL
        for (int t = 0; t < kTokensOfThread; ++t) {
          const float value = xs[(row + t) * (kSide + 1) + j];
          sum[t] += value * ws[column * (kSide + 1) + j];
          if (p.up.data) up[t] += value * us[column * (kSide + 1) + j];
        }
      }
    }
    GPU_UNROLL
    for (int t = 0; t < kTokensOfThread; ++t) {
      if (first + row + t >= work.n) break;
      const float value = p.up.data ? silu(sum[t]) * up[t] : sum[t];
      store_output(p, work.matrix, work.first + first + row + t, first_row + column, value);
    }
  }
}

}  // namespace

void tile_product_float32(const TileProduct& p, const Queue& queue) {
  const dim3 grid(unsigned(p.work ? p.max_work : (p.n_tokens + kSide - 1) / kSide), unsigned((p.n + kSide - 1) / kSide),
                  unsigned(p.n_matrices));
  launch("tile_product_float32", float32_kernel, grid, dim3(kThreads), 0, queue, p);
}

}  // namespace hearth::gpu
