// How much of their scratch memory operations take for what could be cut otherwise. Plain C++: their launchers lay
// scratch out by these figures, and so does the estimate for a GPU that is not there (scratch_estimate.cpp).
#pragma once

#include <cstdint>

namespace hearth::gpu {

// Keys and values of a chunk of the context (attention/mha_attend.cu), about: what is carried between chunks then
// weighs little. Chunks are multiples of so many positions.
inline constexpr int64_t kExpandedBytes = int64_t(128) << 20;
inline constexpr int64_t kChunkMultiple = 128;

// Rounded tokens of all heads together (matmul/matmul_tile.cu).
inline constexpr int64_t kHeadsSliceBytes = int64_t(64) << 20;

// What experts give to each token (matmul/moe_tile.cu), of at least so many columns at once.
inline constexpr int64_t kMoeSliceBytes = int64_t(64) << 20;
inline constexpr int64_t kSliceColumns = 128;

// The largest key of each group of columns (largest.cu), of so many rows at once.
inline constexpr int64_t kLargestRows = 32, kLargestGroups = 1024;

}  // namespace hearth::gpu
