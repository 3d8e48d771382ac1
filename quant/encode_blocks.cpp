// Encoders of the formats with one level of scales: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL, and ours, F8_E4M3 and I4_G128.
// Eight blocks of a row at a time, one per lane: search, store the scale, round to levels with the scale as stored.
#include <cstring>

#include "quant/blocks.h"
#include "quant/encode.h"
#include "quant/encode_levels.h"
#include "quant/encode_search.h"

namespace hearth {
namespace {

// Nibbles in halves: byte i holds q[i] and q[i + half].
template <class Q>
void pack_nibbles(uint8_t* qs, const Q* q, int half) {
  for (int i = 0; i < half; ++i) qs[i] = uint8_t((int(q[i]) & 15) | (int(q[i + half]) & 15) << 4);
}

void pack_fifth_bits(uint8_t* qh, const float* q) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= uint32_t(int(q[i]) >> 4) << i;
  for (int i = 0; i < 4; ++i) qh[i] = uint8_t(bits >> 8 * i);
}

// Eight blocks, or fewer at the end of a row: the other lanes hold zeros.
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

// value = d * level. `set(block, d, q)` stores d and the levels q [N].
template <class Block, class Levels, class Set>
LANES_INLINE void encode_scaled(const float* x, const float* importance, void* blocks, int64_t n, Set set) {
  constexpr int N = Block::kElems;
  auto* out = static_cast<Block*>(blocks);
  for (int64_t b = 0; b < n / N; b += kLanes) {
    Batch<N> batch(x + b * N, importance ? importance + b * N : nullptr, n / N - b);
    const Lanes found = search_scale<Levels>(batch.g);
    decltype(Block::d) stored[kLanes];
    Lanes d{};
    for (int lane = 0; lane < batch.count; ++lane) {
      stored[lane] = Levels::store(batch.scaling[lane], found[lane]);
      d[lane] = Levels::load(batch.scaling[lane], stored[lane]);
    }
    const Lanes id = inverse(d);
    for (int i = 0; i < N; ++i) batch.g.x[i] = Levels::nearest(batch.g.x[i] * id);
    for (int lane = 0; lane < batch.count; ++lane) {
      float q[N];
      for (int i = 0; i < N; ++i) q[i] = batch.g.x[i][lane];
      set(out[b + lane], stored[lane], q);
    }
  }
}

// value = d * q + m. `set(block, d, m, q)`
template <class Block, int Max, class Set, int kTries>
LANES_INLINE void encode_affine(const float* x, const float* importance, void* blocks, int64_t n,
                                const AffineTry (&tries)[kTries], Set set) {
  constexpr int N = Block::kElems;
  auto* out = static_cast<Block*>(blocks);
  for (int64_t b = 0; b < n / N; b += kLanes) {
    Batch<N> batch(x + b * N, importance ? importance + b * N : nullptr, n / N - b);
    const AffineFit found = search_affine<Max, false>(batch.g, tries);
    uint16_t d_stored[kLanes], m_stored[kLanes];
    Lanes d{}, m{};
    for (int lane = 0; lane < batch.count; ++lane) {
      const Scaling& s = batch.scaling[lane];
      d[lane] = s.from_fp16(d_stored[lane] = s.to_fp16(found.d[lane]));
      m[lane] = s.from_fp16(m_stored[lane] = s.to_fp16(found.m[lane]));
    }
    const Lanes id = inverse(d);
    for (int i = 0; i < N; ++i) batch.g.x[i] = round_near(clamp((batch.g.x[i] - m) * id, 0, Max));
    for (int lane = 0; lane < batch.count; ++lane) {
      float q[N];
      for (int i = 0; i < N; ++i) q[i] = batch.g.x[i][lane];
      set(out[b + lane], d_stored[lane], m_stored[lane], q);
    }
  }
}

}  // namespace

ENCODER void encode_q4_0(const float* x, const float* importance, void* blocks, int64_t n) {
  encode_scaled<BlockQ4_0, Q4Levels>(x, importance, blocks, n, [](BlockQ4_0& b, uint16_t d, float* q) {
    b.d = d;
    for (int i = 0; i < 32; ++i) q[i] += 8;
    pack_nibbles(b.qs, q, 16);
  });
}

ENCODER void encode_q4_1(const float* x, const float* importance, void* blocks, int64_t n) {
  encode_affine<BlockQ4_1, 15>(x, importance, blocks, n, kTry4Bits,
                               [](BlockQ4_1& b, uint16_t d, uint16_t m, const float* q) {
                                 b.d = d, b.m = m;
                                 pack_nibbles(b.qs, q, 16);
                               });
}

ENCODER void encode_q5_0(const float* x, const float* importance, void* blocks, int64_t n) {
  encode_scaled<BlockQ5_0, Q5Levels>(x, importance, blocks, n, [](BlockQ5_0& b, uint16_t d, float* q) {
    b.d = d;
    for (int i = 0; i < 32; ++i) q[i] += 16;
    pack_nibbles(b.qs, q, 16);
    pack_fifth_bits(b.qh, q);
  });
}

ENCODER void encode_q5_1(const float* x, const float* importance, void* blocks, int64_t n) {
  encode_affine<BlockQ5_1, 31>(x, importance, blocks, n, kTry5Bits,
                               [](BlockQ5_1& b, uint16_t d, uint16_t m, const float* q) {
                                 b.d = d, b.m = m;
                                 pack_nibbles(b.qs, q, 16);
                                 pack_fifth_bits(b.qh, q);
                               });
}

ENCODER void encode_q8_0(const float* x, const float* importance, void* blocks, int64_t n) {
  encode_scaled<BlockQ8_0, Q8Levels>(x, importance, blocks, n, [](BlockQ8_0& b, uint16_t d, const float* q) {
    b.d = d;
    for (int i = 0; i < 32; ++i) b.qs[i] = int8_t(q[i]);
  });
}

ENCODER void encode_iq4_nl(const float* x, const float* importance, void* blocks, int64_t n) {
  encode_scaled<BlockIQ4_NL, Iq4Levels>(x, importance, blocks, n, [](BlockIQ4_NL& b, uint16_t d, float* q) {
    b.d = d;
    for (int i = 0; i < 32; ++i) q[i] = float(Iq4Levels::index(q[i]));
    pack_nibbles(b.qs, q, 16);
  });
}

ENCODER void encode_f8_e4m3(const float* x, const float* importance, void* blocks, int64_t n) {
  encode_scaled<BlockF8_E4M3, E4m3Levels>(x, importance, blocks, n, [](BlockF8_E4M3& b, float d, const float* q) {
    b.d = d;
    for (int i = 0; i < 128; ++i) b.qs[i] = float_to_e4m3(q[i]);
  });
}

ENCODER void encode_i4_g128(const float* x, const float* importance, void* blocks, int64_t n) {
  encode_scaled<BlockI4_G128, I4Levels>(x, importance, blocks, n, [](BlockI4_G128& b, uint16_t d, const float* q) {
    b.d = d;
    pack_nibbles(b.qs, q, 64);
  });
}

BlockF8_E4M3 f8_e4m3_block(const uint8_t* e4m3, float scale) {
  BlockF8_E4M3 b;
  b.d = scale;
  memcpy(b.qs, e4m3, sizeof b.qs);
  return b;
}

}  // namespace hearth
