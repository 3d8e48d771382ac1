// The formats of one number per weight. BF16 weights stay as they are; the others are rounded to bfloat16.
#include "kernels/cpu/amx/bf16_tile.h"
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/avx512/bf16.h"
#include "kernels/cpu/avx512/e4m3.h"
#include "kernels/cpu/avx512/nvfp4.h"

namespace hearth::amx {
namespace {

// load(row, at, left, out): weights at .. at + 63 of a row, of which `left` exist; zeros after them. In the order of
// bf16_place.
struct BF16 {
  HEARTH_INLINE static void load(const uint8_t* row, int64_t at, int64_t left, __m512i (&out)[2]) {
    const uint8_t* p = row + 2 * at;
    reorder(_mm512_maskz_loadu_epi16(first_of_32(left), p), _mm512_maskz_loadu_epi16(first_of_32(left - 32), p + 64),
            out);
  }
};
struct F16 {
  HEARTH_INLINE static void load(const uint8_t* row, int64_t at, int64_t left, __m512i (&out)[2]) {
    __m512 v[4];
    HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
      v[i] = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_of_16(left - 16 * i), row + 2 * at + 32 * i));
    }
    round_64(v, out);
  }
};
struct F8_E4M3 {
  HEARTH_INLINE static void load(const uint8_t* row, int64_t at, int64_t, __m512i (&out)[2]) {
    const uint8_t* block = row + size_t(at) / BlockF8_E4M3::kElems * sizeof(BlockF8_E4M3);
    float d;
    memcpy(&d, block, sizeof d);
    const __m512i codes = load512(block + offsetof(BlockF8_E4M3, qs) + at % BlockF8_E4M3::kElems);
    __m512i even = e4m3_to_bf16(_mm512_slli_epi16(codes, 8)), odd = e4m3_to_bf16(codes);
    if (any_special(special_distance(codes))) [[unlikely]] {
      even = with_specials(even);
      odd = with_specials(odd);
    }
    // bits[i]: every fourth weight, from weight i on, as byte i of each dword. 256 d is exact, so each weight is
    // rounded once to float32, as number * d, and then to bfloat16.
    const __m512i upper = _mm512_set1_epi32(int(0xffff0000));
    const __m512i bits[4] = {_mm512_slli_epi32(even, 16), _mm512_slli_epi32(odd, 16), _mm512_and_si512(even, upper),
                             _mm512_and_si512(odd, upper)};
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(d), _mm512_set1_ps(kE4m3Scale));
    __m512 w[4];
    HEARTH_UNROLL for (int i = 0; i < 4; ++i) w[i] = _mm512_mul_ps(_mm512_castsi512_ps(bits[i]), scale);
    out[0] = __m512i(_mm512_cvtne2ps_pbh(w[1], w[0]));
    out[1] = __m512i(_mm512_cvtne2ps_pbh(w[3], w[2]));
  }
};

struct NVFP4 {  // exact: six bits
  HEARTH_INLINE static void load(const uint8_t* row, int64_t at, int64_t, __m512i (&out)[2]) {
    __m512 v[4];
    HEARTH_UNROLL for (int i = 0; i < 4; ++i) v[i] = nvfp4_group(row, at + 16 * i);
    round_64(v, out);
  }
};

// A step is 64 weights of 16 rows.
template <class D>
struct Load {
  using Chunk = Bf16Tile;
  static constexpr Input kInput = Input::bf16;
  static constexpr int64_t kVisit = 1, kSteps = 2 * kChunk / 64;

  HEARTH_INLINE void take(const PanelCall&, const uint8_t* const* rows, int64_t at, int64_t n, int step, Chunk& out) {
    const int first_row = step % 2 * 16, from = step / 2 * 64;
    if (from >= n) return;  // nobody reads it
    __m512i v[2][16];
    for (int r = 0; r < 16; ++r) {
      __m512i weights[2];
      D::load(rows[first_row + r], at + from, n - from, weights);
      v[0][r] = weights[0];
      v[1][r] = weights[1];
    }
    HEARTH_UNROLL for (int half = 0; half < 2; ++half) {
      transpose(v[half]);
      HEARTH_UNROLL for (int j = 0; j < 16; ++j) {
        _mm512_store_si512(out.pairs[from / 2 + 16 * half + j][first_row], v[half][j]);
      }
    }
  }
};

template <class D>
void panels(const PanelCall& c) {
  Load<D> recipe;
  multiply_in_bf16(c, recipe);
}

}  // namespace

void f16_panels(const PanelCall& c) {
  panels<F16>(c);
}
void bf16_weight_panels(const PanelCall& c) {
  panels<BF16>(c);
}
void f8_e4m3_panels(const PanelCall& c) {
  panels<F8_E4M3>(c);
}
void nvfp4_panels(const PanelCall& c) {
  panels<NVFP4>(c);
}

}  // namespace hearth::amx
