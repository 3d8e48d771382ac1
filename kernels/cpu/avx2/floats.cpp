// The formats of one number per weight: float activations as they are, products in float32. Also the float product of
// any format, for operations that must not round activations: the router and naive attention.
//
// Many tokens: kFloatRows x kTile weights are decoded once into a tile of floats that stays in L1 (24 KB) and
// multiplied with all tokens by gemm.h, so decoding is shared by the tokens and the FMA units are the bound. Few: four
// rows side by side, decoded straight into the FMA; memory is the bound.
//
// F32, F16, BF16: both ways add in the same order, eight lanes over kTile weights, then the lanes (sum4), then the
// tiles. So an output has the same bits whatever other tokens the call has, and prefill equals decode exactly.
//
// F8_E4M3 has a scale for each 128 weights. For few tokens it multiplies the sums of a block (multiply_e4m3_rows),
// which leaves five instructions for eight weights. For many tokens it is multiplied into the weights, once for all
// tokens. The two ways round differently.
#include "kernels/cpu/avx2/gemm.h"
#include "kernels/cpu/avx2/kernels.h"
#include "kernels/cpu/avx2/matmul_vec.h"
#include "quant/format.h"

namespace hearth::avx2 {
namespace {

constexpr int kTile = 512;      // weights of a row decoded at once; a multiple of every block
constexpr int kFloatRows = 12;  // rows of a tile; a multiple of the three that gemm.h takes at once

// Sixteen weights.
struct Weights {
  __m256 of[2];
};

// One number per weight: load(p) gives the sixteen weights at p. Rows may have any length. (No prefetch stream here:
// the hardware follows long rows by itself, and prefetching slows it by 15 %.)
struct F32 {
  static constexpr int kBytes = 4;
  HEARTH_INLINE static Weights load(const uint8_t* p) {
    const float* f = reinterpret_cast<const float*>(p);
    return {{_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8)}};
  }
};
struct F16 {
  static constexpr int kBytes = 2;
  HEARTH_INLINE static Weights load(const uint8_t* p) {
    return {{_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(p + 16))}};
  }
};
struct BF16 {
  static constexpr int kBytes = 2;
  HEARTH_INLINE static __m256 widen(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
  }
  HEARTH_INLINE static Weights load(const uint8_t* p) { return {{widen(load128(p)), widen(load128(p + 16))}}; }
};
// Weights at .. at + 15 of a row, of which `left` exist; zeros after them.
template <class D>
HEARTH_INLINE Weights weights_at(const uint8_t* row, int64_t at, int64_t left) {
  const uint8_t* p = row + at * D::kBytes;
  if (left >= 16) return D::load(p);
  alignas(32) uint8_t rest[16 * D::kBytes] = {};
  memcpy(rest, p, size_t(left) * D::kBytes);
  return D::load(rest);
}

// An e4m3 code's bits, moved up seven places, are the value / 256 in fp16 (exponent bias 15 against 7), subnormals
// included: the conversion to float handles those at full speed. The factor 256 goes into the scale.
struct F8_E4M3 {};
template <>
HEARTH_INLINE Weights weights_at<F8_E4M3>(const uint8_t* row, int64_t at, int64_t) {
  const uint8_t* block = row + size_t(at) / 128 * sizeof(BlockF8_E4M3);
  float d;
  memcpy(&d, block, 4);
  const __m256 scale = _mm256_set1_ps(d * 256.0f);
  const __m256i q = _mm256_cvtepu8_epi16(load128(block + 4 + size_t(at) % 128)), low7 = _mm256_set1_epi16(0x7f);
  const __m256i magnitude = _mm256_and_si256(q, low7);
  const __m256i sign = _mm256_slli_epi16(_mm256_andnot_si256(low7, q), 8);
  const __m256i nan = _mm256_cmpeq_epi16(magnitude, low7);
  const __m256i half = _mm256_or_si256(_mm256_or_si256(sign, _mm256_slli_epi16(magnitude, 7)), nan);
  return {{_mm256_mul_ps(scale, _mm256_cvtph_ps(_mm256_castsi256_si128(half))),
           _mm256_mul_ps(scale, _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)))}};
}

// NVFP4: a group of sixteen is half a scale, by e4m3's bits in fp16 as above, times levels.
struct NVFP4 {};
template <>
HEARTH_INLINE Weights weights_at<NVFP4>(const uint8_t* row, int64_t at, int64_t) {
  const uint8_t* block = row + size_t(at) / 64 * sizeof(BlockNVFP4);
  const int group = int(at % 64 / 16), code = block[group] & 0x7f;
  const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + 4 + 8 * group));
  const __m128i low = _mm_and_si128(_mm_unpacklo_epi64(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15));
  const __m128i levels = _mm256_castsi256_si128(e2m1_levels(_mm256_castsi128_si256(low)));
  const float half_scale = block[group] == 0x7f ? 0.0f : _cvtsh_ss(uint16_t(code << 7)) * 128.0f;
  const auto eight = [&](__m128i q) HEARTH_INLINE_LAMBDA {
    return _mm256_mul_ps(_mm256_set1_ps(half_scale), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)));
  };
  return {{eight(levels), eight(_mm_srli_si128(levels, 8))}};
}

template <class D>
void decode_row(const Format&, const uint8_t* row, int64_t at, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    const Weights w = weights_at<D>(row, at + i, n - i);
    _mm256_storeu_ps(out + i, w.of[0]);
    if (n - i > 8) _mm256_storeu_ps(out + i + 8, w.of[1]);
  }
}

// For a format without a decoder here: Format::decode in the same loops. It decodes whole rows, so where rows have a
// header, the wanted blocks are copied behind a copy of the header.
void decode_row_by_table(const Format& format, const uint8_t* row, int64_t at, int64_t n, float* out) {
  const uint8_t* blocks = row + format.row_header + at / format.block_elems * format.block_bytes;
  if (format.row_header == 0) {
    format.decode(blocks, out, n);
  } else {
    alignas(64) uint8_t part[64 + kTile * sizeof(float)];  // no block is larger than its floats
    memcpy(part, row, format.row_header);
    memcpy(part + format.row_header, blocks, size_t(n / format.block_elems) * format.block_bytes);
    format.decode(part, out, n);
  }
  for (int64_t i = n; i < round_up(n, 8); ++i) out[i] = 0;
}

// ---- few tokens

// out[t] = (or, unless `at` is 0, +=) the sums of weights at .. at + n - 1 of four rows times token t.
template <class D, int T>
HEARTH_INLINE void dot_4_rows(const FourRows& rows, int64_t at, int64_t n, const float* const* x, __m128 (&out)[T]) {
  __m256 acc[T][4];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) acc[t][r] = _mm256_setzero_ps();
  }
  const auto add = [&](__m256 w, int r, const auto& x_of) HEARTH_INLINE_LAMBDA {
    HEARTH_UNROLL for (int t = 0; t < T; ++t) acc[t][r] = _mm256_fmadd_ps(w, x_of(t), acc[t][r]);
  };
  int64_t i = at;
  for (const int64_t end = at + n; i + 16 <= end; i += 16) {
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
      const Weights w = weights_at<D>(rows.p[r], i, 16);
      add(w.of[0], r, [&](int t) HEARTH_INLINE_LAMBDA { return _mm256_loadu_ps(x[t] + i); });
      add(w.of[1], r, [&](int t) HEARTH_INLINE_LAMBDA { return _mm256_loadu_ps(x[t] + i + 8); });
    }
  }
  if (const int64_t left = at + n - i; left > 0) {
    const __m256i lanes0 = first_lanes(left < 8 ? left : 8), lanes1 = first_lanes(left < 8 ? 0 : left - 8);
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
      const Weights w = weights_at<D>(rows.p[r], i, left);
      add(w.of[0], r, [&](int t) HEARTH_INLINE_LAMBDA { return _mm256_maskload_ps(x[t] + i, lanes0); });
      if (left <= 8) continue;
      add(w.of[1], r, [&](int t) HEARTH_INLINE_LAMBDA { return _mm256_maskload_ps(x[t] + i + 8, lanes1); });
    }
  }
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    const __m128 sum = sum4(acc[t][0], acc[t][1], acc[t][2], acc[t][3]);
    out[t] = at == 0 ? sum : _mm_add_ps(sum, out[t]);
  }
}

template <class D, int T>
void multiply_few(const RowsCall& c) {
  const float* x[T];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) x[t] = static_cast<const float*>(c.x[t]);
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    __m128 out[T];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) out[t] = _mm_setzero_ps();
    for (int64_t at = 0; at < c.k; at += kTile) {
      dot_4_rows<D, T>(rows, at, c.k - at < kTile ? c.k - at : kTile, x, out);
    }
    HEARTH_UNROLL for (int t = 0; t < T; ++t) store_rows(out[t], c.y + t * c.y_stride + i, c.n_rows - i);
  }
}
// Two tokens at a time: the sixteen sums of four would not fit the registers.
template <class D>
void multiply_four_tokens(const RowsCall& c) {
  multiply_few<D, 2>(c);
  multiply_few<D, 2>({c.w, c.row_bytes, c.n_rows, c.k, c.x + 2, c.y + 2 * c.y_stride, c.y_stride, c.next});
}

// ---- few tokens, F8_E4M3

constexpr float kE4m3Half = 256.0f;  // a weight divided by what its bits mean in half precision

// Moves a byte's sign, exponent and mantissa to their places in half precision. NaN becomes 480.
HEARTH_INLINE __m256i e4m3_to_halves(__m128i e4m3) {
  const __m256i b = _mm256_slli_epi16(_mm256_cvtepi8_epi16(e4m3), 7);  // sseeeemmm0000000
  return _mm256_and_si256(b, _mm256_set1_epi16(int16_t(0xbf80)));
}
HEARTH_INLINE bool holds_nan(const uint8_t* row, int64_t k) {
  bool found = false;
  for (int64_t b = 0; b * 128 < k; ++b) {
    for (int i = 4; i < int(sizeof(BlockF8_E4M3)); ++i) found |= (row[b * sizeof(BlockF8_E4M3) + i] & 0x7f) == 0x7f;
  }
  return found;
}

// Four rows' blocks in half precision. (In memory: a conversion to float from there needs no shuffle.) `largest`
// collects the largest of the codes' magnitudes, doubled.
struct HalfBlocks {
  alignas(32) uint16_t w[4][128];
  float d[4];
};
HEARTH_INLINE void decode_blocks(const uint8_t* const (&q)[4], HalfBlocks& blocks, __m256i& largest) {
  HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
    memcpy(&blocks.d[r], q[r] - 4, 4);
    HEARTH_UNROLL for (int at = 0; at < 128; at += 32) {
      const __m256i bytes = load256(q[r] + at);
      largest = _mm256_max_epu8(largest, _mm256_add_epi8(bytes, bytes));
      store256(blocks.w[r] + at, e4m3_to_halves(load128(q[r] + at)));
      store256(blocks.w[r] + at + 16, e4m3_to_halves(load128(q[r] + at + 16)));
    }
  }
}

// out[t] += d * the four rows' sums with token t. T is at most 2: the sums of four tokens would not fit the registers.
template <int T>
HEARTH_INLINE void add_blocks(const HalfBlocks& blocks, const float* const* x, int64_t k, __m128* out) {
  __m256 acc[T][4];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) acc[t][r] = _mm256_setzero_ps();
  }
#pragma GCC unroll 1
  for (int at = 0; at < 128; at += 16) {
    HEARTH_UNROLL for (int r = 0; r < 4; ++r) {
      HEARTH_UNROLL for (int j = 0; j < 16; j += 8) {
        const __m256 w = _mm256_cvtph_ps(load128(blocks.w[r] + at + j));
        HEARTH_UNROLL for (int t = 0; t < T; ++t) {
          acc[t][r] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x[t] + k + at + j), acc[t][r]);
        }
      }
    }
  }
  HEARTH_UNROLL for (int t = 0; t < T; ++t) {
    const __m128 sums = sum4(acc[t][0], acc[t][1], acc[t][2], acc[t][3]);
    out[t] = _mm_fmadd_ps(sums, _mm_loadu_ps(blocks.d), out[t]);
  }
}

template <int T>
void multiply_e4m3_rows(const RowsCall& c) {
  const float* x[T];
  HEARTH_UNROLL for (int t = 0; t < T; ++t) x[t] = static_cast<const float*>(c.x[t]);
  for (int64_t i = 0; i < c.n_rows; i += 4) {
    const FourRows rows = four_rows(c, i);
    const uint8_t* q[4] = {rows.p[0] + 4, rows.p[1] + 4, rows.p[2] + 4, rows.p[3] + 4};
    const uint8_t* ahead = ahead_of(c, i);
    __m256i largest = _mm256_setzero_si256();
    __m128 out[T];
    HEARTH_UNROLL for (int t = 0; t < T; ++t) out[t] = _mm_setzero_ps();
    for (int64_t k = 0; k < c.k; k += 128) {
      prefetch_slice<4 * sizeof(BlockF8_E4M3)>(ahead);
      HalfBlocks blocks;
      decode_blocks(q, blocks, largest);
      constexpr int kTokens = T < 2 ? T : 2;
      HEARTH_UNROLL for (int t = 0; t < T; t += kTokens) add_blocks<kTokens>(blocks, x + t, k, out + t);
      HEARTH_UNROLL for (int r = 0; r < 4; ++r) q[r] += sizeof(BlockF8_E4M3);
    }
    const bool nan = _mm256_movemask_epi8(_mm256_cmpeq_epi8(largest, _mm256_set1_epi8(char(2 * 0x7f)))) != 0;
    HEARTH_UNROLL for (int t = 0; t < T; ++t) {
      float* y = c.y + t * c.y_stride + i;
      store_rows(_mm_mul_ps(out[t], _mm_set1_ps(kE4m3Half)), y, c.n_rows - i);
      if (!nan) continue;
      for (int64_t r = 0; r < 4 && i + r < c.n_rows; ++r) {
        if (holds_nan(rows.p[r], c.k)) y[r] = __builtin_nanf("");
      }
    }
  }
}
// ---- many tokens

void multiply_tiles(DecodeRow decode, const Format& format, const PanelCall& c) {
  alignas(64) float tile[kFloatRows * kTile], sums[kFloatRows * kPanelTokens];  // [kFloatRows][stride]
  const int64_t stride = round_up(c.n_tokens, 4);
  for (int64_t first = 0; first < c.n_rows; first += kFloatRows) {
    const int64_t n_rows = c.n_rows - first < kFloatRows ? c.n_rows - first : kFloatRows, n_rows3 = round_up(n_rows, 3);
    for (int64_t at = 0; at < c.k; at += kTile) {
      const int64_t n = c.k - at < kTile ? c.k - at : kTile;
      for (int64_t i = 0; i < n_rows3; ++i) {  // rows past the end are the last one again
        decode(format, c.w + size_t(first + (i < n_rows ? i : n_rows - 1)) * c.row_bytes, at, n, tile + i * kTile);
      }
      const auto x = [&](int64_t t) HEARTH_INLINE_LAMBDA { return static_cast<const float*>(c.x[t]) + at; };
      multiply_rows(tile, kTile, n_rows3, x, c.n_tokens, n, at == 0, sums, stride);
    }
    for (int64_t t = 0; t < c.n_tokens; ++t) {
      float* to = c.out + t * c.out_stride + first;
      for (int64_t i = 0; i < n_rows; ++i) to[i] = sums[i * stride + t];
    }
  }
}

template <class D, FormatId Id>
void multiply_panels(const PanelCall& c) {
  multiply_tiles(decode_row<D>, format_of(Id), c);
}

template <class D, FormatId Id>
constexpr FormatEngine row(int64_t panels_from) {
  return {Id,
          Input::f32,
          Input::f32,
          {multiply_few<D, 1>, multiply_few<D, 2>, multiply_four_tokens<D>},
          multiply_panels<D, Id>,
          panels_from};
}

constexpr FormatEngine e4m3_row() {
  return {FormatId::f8_e4m3,
          Input::f32,
          Input::f32,
          {multiply_e4m3_rows<1>, multiply_e4m3_rows<2>, multiply_e4m3_rows<4>},
          multiply_panels<F8_E4M3, FormatId::f8_e4m3>,
          20};
}

}  // namespace

constexpr FormatEngine kRows[] = {
    row<F32, FormatId::f32>(15),    row<F16, FormatId::f16>(15), row<BF16, FormatId::bf16>(7), e4m3_row(),
    row<NVFP4, FormatId::nvfp4>(7),
};
const FormatRows kFloats = {kRows, int(sizeof kRows / sizeof kRows[0])};
constexpr FloatDecoder kDecoders[] = {
    {FormatId::f32, decode_row<F32>},         {FormatId::f16, decode_row<F16>},     {FormatId::bf16, decode_row<BF16>},
    {FormatId::f8_e4m3, decode_row<F8_E4M3>}, {FormatId::nvfp4, decode_row<NVFP4>},
};
const FloatDecoders kFloatDecoders = {kDecoders, int(sizeof kDecoders / sizeof kDecoders[0])};

DecodeRow float_decoder(const Format& format) {
  for (const FloatDecoders* list :
       {&kFloatDecoders, &kLargeDecoders, &kSmallDecoders, &kCodebookDecoders, &kIqkDecoders}) {
    for (int i = 0; i < list->n; ++i) {
      if (list->first[i].id == format.id) return list->first[i].decode;
    }
  }
  return decode_row_by_table;
}

void multiply_floats(const Format& format, const PanelCall& call) {
  multiply_tiles(float_decoder(format), format, call);
}

}  // namespace hearth::avx2
