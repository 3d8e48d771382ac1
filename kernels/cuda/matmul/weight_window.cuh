// Window: loads bytes at any address of global memory into registers.
//
// Reads are 16 bytes wide, although most blocks are aligned to 2, and one format's not at all: a thread reads the
// aligned pieces that contain its bytes and moves the bytes into place in registers, with some thirty instructions for
// 64 weights.
#pragma once

#include "kernels/cuda/kernel.h"

namespace hearth::gpu {

// `bytes` bytes at an address that is a multiple of `alignment` (1 .. 16).
template <int bytes, int alignment>
struct Window {
  static constexpr int kPieces = (bytes + 16 - alignment + 15) / 16;
  uint32_t word[4 * kPieces];
  uint32_t shift;  // bytes in word before the first one that was asked for

  // Only the first `needed` bytes need be read (the rest may hold anything), and none is read at or beyond `end`.
  GPU_FN void load(const void* from, const std::byte* end, int needed = bytes) {
    const auto* address = static_cast<const std::byte*>(from);
    shift = alignment == 16 ? 0 : uint32_t(reinterpret_cast<uintptr_t>(address) & 15);
    const std::byte* first = address - shift;
    const int room = end - first < 16 * kPieces ? int(end - first) : 16 * kPieces;
    GPU_UNROLL
    for (int i = 0; i < kPieces; ++i) {
      uint4 piece{};
      if (alignment == 16 || (16 * i < int(shift) + needed && 16 * i + 16 <= room)) {
        piece = *reinterpret_cast<const uint4*>(first + 16 * i);
      }
      word[4 * i] = piece.x, word[4 * i + 1] = piece.y, word[4 * i + 2] = piece.z, word[4 * i + 3] = piece.w;
    }
    if constexpr (alignment < 16) {
      if (room < 16 * kPieces) load_tail(first, end);
    }
  }

  // Moves the bytes to the front of word.
  GPU_FN void align() {
    if constexpr (alignment < 16) {
      GPU_UNROLL
      for (int i = 0; i + 2 < 4 * kPieces; ++i) word[i] = shift & 8 ? word[i + 2] : word[i];
    }
    if constexpr (alignment < 8) {
      GPU_UNROLL
      for (int i = 0; i + 1 < 4 * kPieces; ++i) word[i] = shift & 4 ? word[i + 1] : word[i];
    }
    if constexpr (alignment < 4) {
      const uint32_t bits = (shift & (alignment == 2 ? 2 : 3)) * 8;
      GPU_UNROLL
      for (int i = 0; i + 1 < 4 * kPieces; ++i) {
        word[i] = uint32_t((uint64_t(word[i + 1]) << 32 | word[i]) >> bits);
      }
    }
  }

 private:
  GPU_FN static uint32_t half(const std::byte* p) { return *reinterpret_cast<const uint16_t*>(p); }
  // Reads the piece in which the tensor ends, in parts.
  GPU_FN void load_tail(const std::byte* first, const std::byte* end) {
    const int whole = int(end - first) / 16;
    const std::byte* last = first + 16 * whole;
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      uint32_t value = 0;
      if (last + 4 * j + 2 <= end) value = half(last + 4 * j);
      if (last + 4 * j + 4 <= end) value |= half(last + 4 * j + 2) << 16;
      if constexpr (alignment == 1) {  // or a byte before it
        if (last + 4 * j + 1 == end) value = uint32_t(last[4 * j]);
        if (last + 4 * j + 3 == end) value |= uint32_t(last[4 * j + 2]) << 16;
      }
      GPU_UNROLL
      for (int i = 0; i < kPieces; ++i) {
        if (i == whole) word[4 * i + j] = value;
      }
    }
  }
};

}  // namespace hearth::gpu
