// Few tokens and F8_E4M3, for processors with AVX512-BF16 and VBMI: a code has few enough bits to be a bfloat16, and
// one instruction multiplies 32 of those with 32 activations and adds the products in float32. Activations are rounded
// to bfloat16.
//
// Four rows side by side. One byte shuffle puts 64 codes in the order of the activations, so that the even bytes are
// the first 32 and the odd bytes the second; five more instructions make bfloat16 of them. The block's scale multiplies
// the sums of its 128 weights. Bound, for one token: these instructions, about 12 for 64 weights, and on Sapphire
// Rapids the products, which take two cycles each, no faster than those of floats.
#include "kernels/cpu/avx512/bf16.h"

#include "kernels/cpu/attend.h"
#include "kernels/cpu/avx512/e4m3.h"
#include "kernels/cpu/avx512/install.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/avx512/matmul_vec.h"
#include "kernels/cpu/latent_integers.h"
#include "kernels/cpu/matmul.h"

namespace hearth::avx512_bf16 {

void round(const float* x, int64_t n, uint16_t* out) {
  for (int64_t at = 0; at < n; at += 64) {
    __m512 v[4];
    HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
      v[i] = _mm512_maskz_loadu_ps(first_of_16(n - at - 16 * i), x + at + 16 * i);
    }
    __m512i rounded[2];
    round_64(v, rounded);
    _mm512_storeu_si512(out + at, rounded[0]);
    _mm512_storeu_si512(out + at + 32, rounded[1]);
  }
}

namespace {

using namespace HEARTH_AVX512;

// Puts the first 32 codes, in the order of bf16_place, into the even bytes and the second 32 into the odd bytes.
struct CodeOrder {
  uint8_t pick[64];
  constexpr CodeOrder() : pick() {
    for (int i = 0; i < 64; ++i) pick[2 * (bf16_place(i) % 32) + bf16_place(i) / 32] = uint8_t(i);
  }
};

// sums[t][r] += d * (block r . x[t]) over 128 weights, a sum of sixteen lanes each.
template <bool Specials, int T>
HEARTH_INLINE void add_blocks(const uint8_t* const (&codes)[4], const uint16_t* const (&x)[T], __m512i order,
                              __m512 (&sums)[T][4]) {
  __m512 block[T][4];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) block[t][r] = _mm512_setzero_ps();
  }
  HEARTH_UNROLL for (int at = 0; at < 128; at += 64) {
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
      const __m512i words = _mm512_permutexvar_epi8(order, load512(codes[r] + at));
      __m512i w[2] = {e4m3_to_bf16(_mm512_slli_epi16(words, 8)), e4m3_to_bf16(words)};
      HEARTH_UNROLL for (int i = 0; i < 2; ++i) {
        if (Specials) w[i] = with_specials(w[i]);
        HEARTH_UNROLL for (int t = 0; t < T; ++t) {
          block[t][r] = _mm512_dpbf16_ps(block[t][r], __m512bh(w[i]), __m512bh(load512(x[t] + at + 32 * i)));
        }
      }
    }
  }
  HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
    float d;
    memcpy(&d, codes[r] - sizeof d, sizeof d);
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      sums[t][r] = _mm512_fmadd_ps(block[t][r], _mm512_set1_ps(d), sums[t][r]);
    }
  }
}

template <int T>
void multiply_rows(const RowsCall& c) {
  alignas(64) static constexpr CodeOrder kOrder;
  const __m512i order = _mm512_load_si512(kOrder.pick);
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    const uint8_t* codes[4];
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) codes[r] = rows.p[r] + offsetof(BlockF8_E4M3, qs);
    const uint8_t* ahead = ahead_of(c, i);
    const uint16_t* x[T];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) x[t] = static_cast<const uint16_t*>(c.x[t]);
    __m512 sums[T][4];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) sums[t][r] = _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < c.k; k += BlockF8_E4M3::kElems) {
      prefetch_slice<4 * sizeof(BlockF8_E4M3)>(ahead);
      if (has_special(codes)) [[unlikely]] {
        add_blocks<true>(codes, x, order, sums);
      } else {
        add_blocks<false>(codes, x, order, sums);
      }
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) codes[r] += sizeof(BlockF8_E4M3);
      HEARTH_UNROLL for (int t = 0; t < T; ++t) x[t] += BlockF8_E4M3::kElems;
    }
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      const __m512 whole = _mm512_mul_ps(lane_per_row(sums[t]), _mm512_set1_ps(kE4m3Scale));
      store_rows(whole, c.y + t * c.y_stride + i, c.n_rows - i);
    }
  }
}

// For many tokens the kernel of the AVX-512 table stays: with weights decoded once for all tokens, float32 products are
// faster.
FormatEngine rounding_few(FormatEngine f) {
  f.rows_input = Input::bf16;
  f.rows[0] = multiply_rows<1>;
  f.rows[1] = multiply_rows<2>;
  f.rows[2] = multiply_rows<4>;
  return f;
}

const Engine& engine() {
  static const FormatEngine row = rounding_few(row_of(HEARTH_AVX512::engine(), FormatId::f8_e4m3));
  static const Engine engine = {
      {{&row, 1}, kFloats, kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks}, quantize, round, silu_product};
  return engine;
}

}  // namespace

void install(Ops& ops) {
  product::install<engine>(ops);
  mla::install_integers<engine, mla::float_kernel<kAttention>, kLatentIntegers, attends_in_integers>(ops);
}

}  // namespace hearth::avx512_bf16
