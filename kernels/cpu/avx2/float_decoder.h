// Rows of the integer formats as floats, from the same decoders as the byte products. Used by multiply_floats and by
// naive attention, which expands its keys and values with them.
//
// The floats are those of Format::decode bit for bit: all products are exact in float32 (quant/decode.h), so only the
// last subtraction or addition rounds, and an FMA rounds once too.
#pragma once

#include "kernels/cpu/avx2/decoders.h"
#include "kernels/cpu/avx2/kernels.h"

namespace hearth {
namespace {

// Scales of a chunk's groups, and what is added to their weights.
template <class D>
struct FloatScales {
  alignas(32) float scale[256 / D::kGroup], added[256 / D::kGroup];

  HEARTH_INLINE FloatScales(const uint8_t* row, const uint8_t* p, int n_groups) {
    if constexpr (D::kBlock == 256) {
      put(D::scales(p), block_factor<D>(row, p), scale);
      if constexpr (D::kMins) put(D::mins(p), -half_to_float(p + D::kDmin), added);
    } else {
      _mm256_store_ps(scale, group_scales<D>(row, p, n_groups));
      if constexpr (D::kMins) _mm256_store_ps(added, group_halves<D>(p, D::kAddedAt, n_groups));
    }
  }

 private:
  HEARTH_INLINE static void put(__m256i words, float factor, float* to) {
    int16_t word[16];
    store256(word, words);
    for (int g = 0; g < 256 / D::kGroup; ++g) to[g] = factor * float(word[g * D::kGroup / 16]);
  }
};

// kernels.h: DecodeRow.
template <class D>
void decode_floats(const Format&, const uint8_t* row, int64_t at, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 256) {
    const uint8_t* p = row + kHeaderOf<D> + (at + i) / D::kBlock * D::kBytes;
    const int n_vectors = int((n - i < 256 ? n - i : 256) / 32);
    const FloatScales<D> groups(row, p, n_vectors);
    for (int v = 0; v < n_vectors; ++v) {
      alignas(32) int8_t weights[32];
      store256(weights, _mm256_sub_epi8(D::vector(p, v), _mm256_set1_epi8(D::kOffset)));
      for (int j = 0; j < 32; j += 8) {
        const int g = (32 * v + j) / D::kGroup;
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(weights + j));
        const __m256 q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale = _mm256_broadcast_ss(groups.scale + g);
        __m256 w = _mm256_mul_ps(scale, q);
        if constexpr (D::kMins) w = _mm256_fmadd_ps(scale, q, _mm256_broadcast_ss(groups.added + g));
        _mm256_storeu_ps(out + i + 32 * v + j, w);
      }
    }
  }
}

template <class D>
constexpr avx2::FloatDecoder float_decoder_row(FormatId id) {
  return {id, decode_floats<D>};
}

}  // namespace
}  // namespace hearth
