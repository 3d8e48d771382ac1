// A token's latent: kv_a [r+dr] -> the row of the cache where it stands, bf16 or f32. The first r values are
// RMS-normalised (c^KV), the last dr rotated (k^R); both in float, rounded once.
#pragma once

#include "kernels/cuda/attention/heads.cuh"
#include "kernels/cuda/block.cuh"

namespace hearth::gpu {

constexpr int kLatentThreads = 256;

// By all kLatentThreads threads of a block, which read the row's 2.3 KB twice, the second time from L1. `token` is its
// number in `at`. The row may have been written by other blocks of this launch: volatile, so that none is read early.
GPU_FN void store_latent_row(const volatile float* row, const float* norm, float eps, const RopeTable& table,
                             const LatentCache& cache, const Positions& at, int token) {
  GPU_SHARED(float, partial, kMaxWarps);
  const int r = int(cache.kv_lora_rank), dr = int(cache.rope_dim), thread = int(threadIdx.x);
  const int position = at.ids[token];
  const int64_t first = row_number(at, pages_of(at, token), position) * (r + dr);
  const auto store = [&](int column, float value) {
    if (cache.format == FormatId::f32) {
      reinterpret_cast<float*>(cache.data)[first + column] = value;
    } else {
      reinterpret_cast<uint16_t*>(cache.data)[first + column] = float_to_bf16(value);
    }
  };

  float sum = 0;
  for (int c = thread; c < r; c += kLatentThreads) {
    const float value = row[c];
    sum += value * value;
  }
  const float factor = 1.0f / sqrtf(block_sum(sum, partial) / float(r) + eps);
  for (int c = thread; c < r; c += kLatentThreads) store(c, norm[c] * (row[c] * factor));

  const float* angles = table.cos_sin + int64_t(position) * dr;
  for (int j = thread; j < dr / 2; j += kLatentThreads) {
    const float a = row[r + 2 * j], b = row[r + 2 * j + 1], cos = angles[2 * j], sin = angles[2 * j + 1];
    store(r + 2 * j, a * cos - b * sin);
    store(r + 2 * j + 1, a * sin + b * cos);
  }
}

}  // namespace hearth::gpu
