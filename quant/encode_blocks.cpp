// Encoders of the formats with one level of scales: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 TQ1_0 TQ2_0 IQ4_NL, and ours, F8_E4M3 and
// I4_G128.
// Eight blocks of a row at a time, one per lane: search, store the scale, round to levels with the scale as stored.
#include <cstring>

#include "quant/blocks.h"
#include "quant/encode.h"
#include "quant/encode_levels.h"
#include "quant/encode_search.h"

namespace hearth {
namespace {

// ---- Levels

// The extreme weight goes to the negative side, which has one level more; d may well be negative.
struct Q4Levels : IntegerLevels<-8, 7> {
  static constexpr float kTry[] = {-8.25f, -7.5f, -8.75f, -7, -7.75f, -6.25f, -8};
};
struct Q5Levels : IntegerLevels<-16, 15> {
  static constexpr float kTry[] = {-16, -15, -16.5f, -14, -13, -15.5f, -17, -14.5f};
};
struct Q8Levels : IntegerLevels<-127, 127> {  // -128 is left out: kernels may negate
  static constexpr float kTry[] = {127, 126, 125, 124, 123, 122, 121, 120, 119, 118, 117, 116, 115, 114, 113, 112};
};
struct I4Levels : IntegerLevels<-8, 7> {  // 128 weights: more of them are worth clipping
  static constexpr float kTry[] = {-8.75f, -9.5f, -8.25f, -7.75f, -10, -9, -8.5f};
};
// 256 weights and three levels: a little more than half of Gaussian weights are best set to one of the outer two, the
// extreme weight far outside.
struct TernaryLevels : IntegerLevels<-1, 1> {
  static constexpr float kTry[] = {3.75f, 2.375f, 6.5f, 1.25f, 2.875f, 9, 4.75f, 2};
};

// One octave of levels: a scale twice as large gives the same levels except the smallest. Weights that are already
// multiples of e4m3 numbers are found again: their extreme is one of these, or a power of two below one.
struct E4m3Levels {
  static constexpr float kTry[] = {448, 416, 384, 352, 320, 288, 256, 240};
  static LANES_INLINE Lanes nearest(Lanes y) {
    // Three bits below the leading one of |y|, but never below 2^-9: 1.5 * 2^(20 + e) has a last place of 2^(e - 3).
    using Bits = uint32_t __attribute__((vector_size(sizeof(Lanes))));
    y = clamp(y, -448, 448);
    const Lanes leading = reinterpret_cast<Lanes>(reinterpret_cast<Bits>(y) & 0x7f800000);
    const Lanes adder = max(leading, broadcast(0x1p-6f)) * 0x1.8p20f;
    return (y + adder) - adder;
  }
  static float store(const Scaling& s, float d) { return d * s.up(); }
  static float load(const Scaling& s, float stored) { return stored * s.down(); }
};

// ---- Bits

// Nibbles in halves: byte i holds q[i] and q[i + half].
void pack_nibbles(uint8_t* qs, const float* q, int half) {
  for (int i = 0; i < half; ++i) qs[i] = uint8_t((int(q[i]) & 15) | (int(q[i + half]) & 15) << 4);
}

void pack_fifth_bits(uint8_t* qh, const float* q) {
  for (int i = 0; i < 4; ++i) {
    int bits = 0;
    for (int k = 0; k < 8; ++k) bits |= (int(q[8 * i + k]) >> 4) << k;
    qh[i] = uint8_t(bits);
  }
}

// ---- A format's own bits: levels q [N]. d (and m) are already stored.

void pack(BlockQ4_0& b, const float* q) {
  float shifted[32];
  for (int i = 0; i < 32; ++i) shifted[i] = q[i] + 8;
  pack_nibbles(b.qs, shifted, 16);
}

void pack(BlockQ5_0& b, const float* q) {
  float shifted[32];
  for (int i = 0; i < 32; ++i) shifted[i] = q[i] + 16;
  pack_nibbles(b.qs, shifted, 16);
  pack_fifth_bits(b.qh, shifted);
}

void pack(BlockQ4_1& b, const float* q) {
  pack_nibbles(b.qs, q, 16);
}

void pack(BlockQ5_1& b, const float* q) {
  pack_nibbles(b.qs, q, 16);
  pack_fifth_bits(b.qh, q);
}

void pack(BlockQ8_0& b, const float* q) {
  for (int i = 0; i < 32; ++i) b.qs[i] = int8_t(q[i]);
}

void pack(BlockIQ4_NL& b, const float* q) {
  float index[32];
  for (int i = 0; i < 32; ++i) index[i] = float(Iq4Levels::index(q[i]));
  pack_nibbles(b.qs, index, 16);
}

// The fraction in base 3 whose first digits are the levels at q, `apart` weights from each other, rounded up.
uint8_t pack_digits(const float* q, int n, int apart) {
  int number = 0;
  for (int i = 0; i < 5; ++i) number = 3 * number + (i < n ? int(q[i * apart]) + 1 : 0);
  return uint8_t((number * 256 + 242) / 243);
}

void pack(BlockTQ1_0& b, const float* q) {
  for (int m = 0; m < 32; ++m) b.qs[m] = pack_digits(q + m, 5, 32);
  for (int m = 0; m < 16; ++m) b.qs[32 + m] = pack_digits(q + 160 + m, 5, 16);
  for (int m = 0; m < 4; ++m) b.qh[m] = pack_digits(q + 240 + m, 4, 4);
}

void pack(BlockTQ2_0& b, const float* q) {
  for (int i = 0; i < 64; ++i) {
    const float* of_byte = q + i / 32 * 128 + i % 32;
    int bits = 0;
    for (int j = 0; j < 4; ++j) bits |= (int(of_byte[32 * j]) + 1) << 2 * j;
    b.qs[i] = uint8_t(bits);
  }
}

void pack(BlockF8_E4M3& b, const float* q) {
  for (int i = 0; i < 128; ++i) b.qs[i] = float_to_e4m3(q[i]);
}

void pack(BlockI4_G128& b, const float* q) {
  pack_nibbles(b.qs, q, 64);
}

// ---- Eight blocks of a row at a time

// The last ones of a row may be fewer: the other lanes hold zeros.
template <int N>
struct Batch {
  int count;
  Scaling scaling[kLanes];
  Groups<N> g;

  LANES_INLINE Batch(const float* x, const float* importance, int64_t blocks)
      : count(int(std::min<int64_t>(blocks, kLanes))) {
    const float zeros[N] = {};
    for (int lane = 0; lane < kLanes; ++lane) {
      const float* from = lane < count ? x + lane * N : zeros;
      const float* weights = lane < count && importance ? importance + lane * N : nullptr;
      scaling[lane] = Scaling(from, weights, N);
      load_lane(g, lane, scaling[lane], from, weights);
    }
  }
};

template <class Block, int N>
LANES_INLINE void pack_lanes(Block* out, int count, const Lanes (&levels)[N]) {
  for (int lane = 0; lane < count; ++lane) {
    float q[N];
    for (int i = 0; i < N; ++i) q[i] = levels[i][lane];
    pack(out[lane], q);
  }
}

// value = d * level
template <class Block, class Levels>
LANES_INLINE void encode_scaled(const float* x, const float* importance, void* blocks, int64_t n) {
  constexpr int N = Block::kElems;
  for (int64_t at = 0; at < n; at += kLanes * N) {
    Batch<N> batch(x + at, importance ? importance + at : nullptr, (n - at) / N);
    Block* out = static_cast<Block*>(blocks) + at / N;
    Lanes d = search_scale<Levels>(batch.g);
    for (int lane = 0; lane < batch.count; ++lane) {
      out[lane].d = Levels::store(batch.scaling[lane], d[lane]);
      d[lane] = Levels::load(batch.scaling[lane], out[lane].d);
    }
    Lanes levels[N];
    const Lanes id = inverse(d);
    for (int i = 0; i < N; ++i) levels[i] = Levels::nearest(batch.g.x[i] * id);
    pack_lanes(out, batch.count, levels);
  }
}

// value = d * q + m, q 0..Max
template <class Block, int Max, int kTries>
LANES_INLINE void encode_affine(const float* x, const float* importance, void* blocks, int64_t n,
                                const AffineTry (&tries)[kTries]) {
  constexpr int N = Block::kElems;
  for (int64_t at = 0; at < n; at += kLanes * N) {
    Batch<N> batch(x + at, importance ? importance + at : nullptr, (n - at) / N);
    Block* out = static_cast<Block*>(blocks) + at / N;
    AffineFit fit = search_affine<Max, false>(batch.g, tries);
    for (int lane = 0; lane < batch.count; ++lane) {
      const Scaling& s = batch.scaling[lane];
      out[lane].d = s.to_fp16(fit.d[lane]);
      out[lane].m = s.to_fp16(fit.m[lane]);
      fit.d[lane] = s.from_fp16(out[lane].d);
      fit.m[lane] = s.from_fp16(out[lane].m);
    }
    Lanes levels[N];
    const Lanes id = inverse(fit.d);
    for (int i = 0; i < N; ++i) levels[i] = affine_level<Max>(batch.g.x[i], id, fit.m);
    pack_lanes(out, batch.count, levels);
  }
}

}  // namespace

template <>
ENCODER void encode_row<BlockQ4_0>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockQ4_0, Q4Levels>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockQ4_1>(const float* x, const float* importance, void* row, int64_t n) {
  encode_affine<BlockQ4_1, 15>(x, importance, row, n, kTry4Bits);
}

template <>
ENCODER void encode_row<BlockQ5_0>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockQ5_0, Q5Levels>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockQ5_1>(const float* x, const float* importance, void* row, int64_t n) {
  encode_affine<BlockQ5_1, 31>(x, importance, row, n, kTry5Bits);
}

template <>
ENCODER void encode_row<BlockQ8_0>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockQ8_0, Q8Levels>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockIQ4_NL>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockIQ4_NL, Iq4Levels>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockTQ1_0>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockTQ1_0, TernaryLevels>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockTQ2_0>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockTQ2_0, TernaryLevels>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockF8_E4M3>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockF8_E4M3, E4m3Levels>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockI4_G128>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockI4_G128, I4Levels>(x, importance, row, n);
}

BlockF8_E4M3 f8_e4m3_block(const uint8_t* e4m3, float scale) {
  BlockF8_E4M3 b;
  b.d = scale;
  memcpy(b.qs, e4m3, sizeof b.qs);
  return b;
}

}  // namespace hearth
