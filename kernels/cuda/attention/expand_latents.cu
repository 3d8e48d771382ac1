// Keys and values of every head from the latent cache: latents [n, r] times bf16 weights [H, nope + v, r] ->
// [H, n, nope + v].
//
// One product per head, on tensor cores: a block computes 128 positions x 128 columns, 8 warps 32 x 64 each, walking
// over the latents in slabs of 32 columns, with three buffers of slabs in shared memory. Weights in any format become
// bf16 once per call (widen_weights), and so do the rows of the cache, gathered from their pages (widen_latents).
//
// What bounds it: the tensor cores, with 1 kFLOP per output of 2 bytes.
#include "kernels/cuda/attention/expand_latents.h"

#include "kernels/cuda/attention/heads.cuh"
#include "quant/round_up.h"

namespace hearth::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 128;  // positions and columns of a block
constexpr int kSlab = 32, kSlabStride = kSlab + 8, kStages = 3;
constexpr int kBufferValues = 2 * kTile * kSlabStride;
constexpr size_t kSharedBytes = sizeof(uint16_t) * kStages * kBufferValues;
static_assert(kSharedBytes <= kMaxSharedBytes);

int padded(int64_t n) {
  return int(round_up(n, 16));
}

unsigned blocks(int64_t n, int64_t per_block) {
  return unsigned((n + per_block - 1) / per_block);
}

// The number of positions of the chunk that exist.
GPU_FN int n_keys(const LatentChunk& chunk) {
  return at_most(int(chunk.n), chunk.at.ids[0] + int(chunk.n_tokens) - int(chunk.first));
}

struct Product {
  const uint16_t *weights, *latents;  // [columns, k], [n, latent_stride]
  int64_t latent_stride;
  int columns, k;
  LatentChunk chunk;
  uint16_t* out;  // [H, n, columns]
};

__global__ void __launch_bounds__(kThreads) multiply(Product p) {
  GPU_DYNAMIC_SHARED(uint16_t, shared);  // [kStages][latents, then weights][kTile][kSlabStride]
  const int n = n_keys(p.chunk), first_key = int(blockIdx.x) * kTile, first_column = int(blockIdx.y) * kTile;
  if (first_key >= n) return;
  const int thread = int(threadIdx.x), lane = lane_of_thread();
  const int tile_key = warp_of_thread() % 4 * 32, tile_column = warp_of_thread() / 4 * 64;
  const uint16_t* weights = p.weights + int64_t(blockIdx.z) * p.columns * p.k;

  const auto load_slab = [&](int slab) {
    uint16_t* to = shared + slab % kStages * kBufferValues;
    GPU_UNROLL
    for (int i = thread; i < kTile * kSlab / 8; i += kThreads) {
      const int row = i / (kSlab / 8), c = i % (kSlab / 8) * 8, k = slab * kSlab + c;
      const int key = first_key + row, column = first_column + row;
      const bool key_valid = key < n && k < p.k, column_valid = column < p.columns && k < p.k;
      cp_async_16(to + row * kSlabStride + c, p.latents + (key_valid ? key * p.latent_stride + k : 0), key_valid);
      cp_async_16(to + (kTile + row) * kSlabStride + c, weights + (column_valid ? int64_t(column) * p.k + k : 0),
                  column_valid);
    }
  };

  float sum[2][8][4] = {};
  const int n_slabs = (p.k + kSlab - 1) / kSlab;
  for (int slab = 0; slab < kStages - 1; ++slab) {
    if (slab < n_slabs) load_slab(slab);
    cp_async_commit();
  }
  for (int slab = 0; slab < n_slabs; ++slab) {
    cp_async_wait<kStages - 2>();
    __syncthreads();
    if (slab + kStages - 1 < n_slabs) load_slab(slab + kStages - 1);
    cp_async_commit();
    const uint16_t* from = shared + slab % kStages * kBufferValues;
    GPU_UNROLL
    for (int k = 0; k < kSlab; k += 16) {
      uint32_t a[2][4];
      GPU_UNROLL
      for (int i = 0; i < 2; ++i) load_a(a[i], from + (tile_key + 16 * i) * kSlabStride + k, kSlabStride);
      GPU_UNROLL
      for (int j = 0; j < 4; ++j) {
        uint32_t b[4];
        load_b_transposed(b, from + (kTile + tile_column + 16 * j) * kSlabStride + k, kSlabStride);
        GPU_UNROLL
        for (int i = 0; i < 2; ++i) {
          mma_bf16(sum[i][2 * j], a[i], b[0], b[1]);
          mma_bf16(sum[i][2 * j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }

  GPU_UNROLL
  for (int i = 0; i < 2; ++i) {
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int key = first_key + tile_key + 16 * i + 8 * half + lane / 4;
      if (key >= n) continue;
      uint16_t* row = p.out + (blockIdx.z * p.chunk.n + key) * p.columns;
      GPU_UNROLL
      for (int j = 0; j < 8; ++j) {
        const int column = first_column + tile_column + 8 * j + 2 * (lane % 4);
        if (column < p.columns) {
          *reinterpret_cast<uint32_t*>(row + column) = pack_bf16(sum[i][j][2 * half], sum[i][j][2 * half + 1]);
        }
      }
    }
  }
}

GPU_FN float cache_value(const LatentCache& cache, int64_t at) {
  return cache.format == FormatId::f32 ? reinterpret_cast<const float*>(cache.data)[at]
                                       : bf16_bits_to_float(reinterpret_cast<const uint16_t*>(cache.data)[at]);
}

__global__ void __launch_bounds__(kThreads)
    widen_rows(LatentCache cache, LatentChunk chunk, int padded_r, int padded_rope, uint16_t* out) {
  const int r = int(cache.kv_lora_rank), rope = int(cache.rope_dim), key = int(blockIdx.x);
  if (key >= n_keys(chunk)) return;
  const int64_t row = row_number(chunk.at, pages_of(chunk.at, 0), int(chunk.first) + key) * (r + rope);
  for (int c = int(threadIdx.x); c < padded_r + padded_rope; c += kThreads) {
    const int from = c < padded_r ? c : r + c - padded_r;
    const bool inside = c < padded_r ? c < r : c - padded_r < rope;
    out[int64_t(key) * (padded_r + padded_rope) + c] = inside ? float_to_bf16(cache_value(cache, row + from)) : 0;
  }
}

}  // namespace

ExpandedWidths::ExpandedWidths(int64_t r, int64_t nope, int64_t rope, int64_t v)
    : r(int(r)),
      nope(int(nope)),
      rope(int(rope)),
      v(int(v)),
      padded_r(padded(r)),
      padded_nope(padded(nope)),
      padded_rope(padded(rope)),
      padded_v(padded(v)) {}

void widen_latents(const Queue& queue, const ExpandedWidths& widths, const LatentCache& cache, const LatentChunk& chunk,
                   uint16_t* latents) {
  launch("widen_latents", widen_rows, dim3(unsigned(chunk.n)), dim3(kThreads), 0, queue, cache, chunk, widths.padded_r,
         widths.padded_rope, latents);
}

void expand_latents(const Queue& queue, const ExpandedWidths& widths, const uint16_t* weights, const uint16_t* latents,
                    int64_t n_heads, const LatentChunk& chunk, uint16_t* expanded) {
  const Product product{weights, latents, widths.latent_width(), widths.columns(), widths.padded_r, chunk, expanded};
  launch("expand_latents", multiply, dim3(blocks(chunk.n, kTile), blocks(widths.columns(), kTile), unsigned(n_heads)),
         dim3(kThreads), kSharedBytes, queue, product);
}

}  // namespace hearth::gpu
