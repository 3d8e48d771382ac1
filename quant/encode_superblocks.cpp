// Encoders of the formats with two levels of scales: Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS. Search (encode_superblock.h),
// round to levels with the scales as stored, pack the bits (blocks.h).
#include <cstring>

#include "quant/blocks.h"
#include "quant/encode.h"
#include "quant/encode_levels.h"
#include "quant/encode_superblock.h"

namespace hearth {
namespace {

// ---- Levels

struct Q3KLevels : IntegerLevels<-4, 3> {
  static constexpr float kTry[] = {-4.125f, -3.25f, -4.625f, -3.75f, -2.875f};
};
struct Q6KLevels : IntegerLevels<-32, 31> {
  static constexpr float kTry[] = {-32, -31, -30, -29, -28, -27, -26, -25};
};

// First and last level inside the range, in steps.
constexpr AffineTry kTry2Bits[] = {{.3f, .3f}, {.5f, 0},    {0, .5f},     {.1f, 0},  {.1f, .4f},
                                   {.4f, .2f}, {-.6f, .4f}, {-.5f, -.4f}, {.5f, .7f}};

// ---- Bits

// Bits 0 and 1 of every q into the bit pairs of qs [64].
void pack_low_bits(uint8_t* qs, const uint8_t* q) {
  for (int i = 0; i < kSuperBlock; ++i) qs[i / 128 * 32 + i % 32] |= uint8_t((q[i] & 3) << 2 * (i % 128 / 32));
}

// Bits 0 to 3 of q into nibbles: two groups of 32 share 32 bytes.
void pack_pairs(uint8_t* qs, const uint8_t* q) {
  for (int i = 0; i < kSuperBlock / 2; ++i) {
    const uint8_t* pair = q + i / 32 * 64 + i % 32;
    qs[i] = uint8_t((pair[0] & 15) | (pair[32] & 15) << 4);
  }
}

// The 12 bytes of Q4_K and Q5_K.
void pack_scales_mins(uint8_t* packed, const uint8_t* scales, const uint8_t* mins) {
  for (int g = 0; g < 4; ++g) {
    packed[g] = uint8_t(scales[g] | scales[g + 4] >> 4 << 6);
    packed[g + 4] = uint8_t(mins[g] | mins[g + 4] >> 4 << 6);
    packed[g + 8] = uint8_t((scales[g + 4] & 15) | (mins[g + 4] & 15) << 4);
  }
}

// ---- A format's own bits: integer scales [256 / N], levels [256] in the order of the weights. d is already stored.

void pack(BlockQ3_K& b, const int8_t* scales, const float* levels) {
  for (int k = 0; k < 16; ++k) {
    const int scale = scales[k] + 32;
    b.scales[k % 8] |= uint8_t((scale & 15) << 4 * (k / 8));
    b.scales[8 + k % 4] |= uint8_t(scale >> 4 << 2 * (k / 4));
  }
  uint8_t q[kSuperBlock];
  for (int i = 0; i < kSuperBlock; ++i) {
    q[i] = uint8_t(int(levels[i]) + 4);
    b.hmask[i % 32] |= uint8_t(q[i] >> 2 << i / 32);
  }
  pack_low_bits(b.qs, q);
}

void pack(BlockQ6_K& b, const int8_t* scales, const float* levels) {
  memcpy(b.scales, scales, sizeof b.scales);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int q = int(levels[i]) + 32, half = i / 128, quarter = i % 128 / 32;
    b.ql[half * 64 + i % 64] |= uint8_t((q & 15) << 4 * (quarter / 2));
    b.qh[half * 32 + i % 32] |= uint8_t(q >> 4 << 2 * quarter);
  }
}

void pack(BlockIQ4_XS& b, const int8_t* scales, const float* levels) {
  for (int g = 0; g < 8; ++g) {
    const int scale = scales[g] + 32;
    b.scales_l[g / 2] |= uint8_t((scale & 15) << 4 * (g % 2));
    b.scales_h |= uint16_t(scale >> 4 << 2 * g);
  }
  for (int i = 0; i < kSuperBlock; ++i) {
    b.qs[i / 32 * 16 + i % 16] |= uint8_t(Iq4Levels::index(levels[i]) << 4 * (i % 32 / 16));
  }
}

void pack(BlockQ2_K& b, const uint8_t* scales, const uint8_t* mins, const uint8_t* q) {
  for (int k = 0; k < 16; ++k) b.scales[k] = uint8_t(scales[k] | mins[k] << 4);
  pack_low_bits(b.qs, q);
}

void pack(BlockQ4_K& b, const uint8_t* scales, const uint8_t* mins, const uint8_t* q) {
  pack_scales_mins(b.scales, scales, mins);
  pack_pairs(b.qs, q);
}

void pack(BlockQ5_K& b, const uint8_t* scales, const uint8_t* mins, const uint8_t* q) {
  pack_scales_mins(b.scales, scales, mins);
  pack_pairs(b.qs, q);
  for (int i = 0; i < kSuperBlock; ++i) b.qh[i % 32] |= uint8_t(q[i] >> 4 << i / 32);
}

// ---- Blocks one after the other

// value = d * scale * level, scale Low..High
template <class Block, class Levels, int N, int Low, int High>
LANES_INLINE void encode_scaled(const float* x, const float* importance, void* blocks, int64_t n) {
  for (int64_t at = 0; at < n; at += kSuperBlock) {
    const SuperBlock<N> b(x + at, importance ? importance + at : nullptr);
    const BlockScales<N> found = search_scales<Levels, Low, High>(b);
    const float d = b.scaling.from_fp16(found.d);
    float levels[kSuperBlock];
    int8_t scales[kSuperBlock / N];
    for (int v = 0; v < kBatches<N>; ++v) {
      const Lanes id = inverse(found.scale[v] * d);
      for (int i = 0; i < N; ++i) {
        const Lanes q = Levels::nearest(b.g[v].x[i] * id);
        for (int lane = 0; lane < kLanes; ++lane) levels[(v * kLanes + lane) * N + i] = q[lane];
      }
      for (int lane = 0; lane < kLanes; ++lane) scales[v * kLanes + lane] = int8_t(found.scale[v][lane]);
    }
    Block& out = static_cast<Block*>(blocks)[at / kSuperBlock];
    out = {};
    out.d = found.d;
    pack(out, scales, levels);
  }
}

// value = d * scale * q - dmin * min, q 0..Max, scale and min 0..MaxScale
template <class Block, int Max, int MaxScale, int N, int kTries>
LANES_INLINE void encode_affine(const float* x, const float* importance, void* blocks, int64_t n,
                                const AffineTry (&tries)[kTries]) {
  constexpr bool kFewBits = Max <= 3;
  for (int64_t at = 0; at < n; at += kSuperBlock) {
    SuperBlock<N> b(x + at, importance ? importance + at : nullptr);
    if (kFewBits && importance) b.by_size();
    const BlockScaleMins<N> found = search_scale_mins<Max, MaxScale>(b, tries);
    const float d = b.scaling.from_fp16(found.d), dmin = b.scaling.from_fp16(found.dmin);
    uint8_t q[kSuperBlock], scales[kSuperBlock / N], mins[kSuperBlock / N];
    for (int v = 0; v < kBatches<N>; ++v) {
      const Lanes id = inverse(found.scale[v] * d), m = found.minimum[v] * -dmin;
      for (int i = 0; i < N; ++i) {
        const Lanes levels = affine_level<Max>(b.g[v].x[i], id, m);
        for (int lane = 0; lane < kLanes; ++lane) q[(v * kLanes + lane) * N + i] = uint8_t(levels[lane]);
      }
      for (int lane = 0; lane < kLanes; ++lane) {
        scales[v * kLanes + lane] = uint8_t(found.scale[v][lane]);
        mins[v * kLanes + lane] = uint8_t(found.minimum[v][lane]);
      }
    }
    Block& out = static_cast<Block*>(blocks)[at / kSuperBlock];
    out = {};
    out.d = kFewBits ? b.scaling.to_fp16(d * found.gain) : found.d;
    out.dmin = kFewBits ? b.scaling.to_fp16(dmin * found.gain) : found.dmin;
    pack(out, scales, mins, q);
  }
}

}  // namespace

template <>
ENCODER void encode_row<BlockQ2_K>(const float* x, const float* importance, void* row, int64_t n) {
  encode_affine<BlockQ2_K, 3, 15, 16>(x, importance, row, n, kTry2Bits);
}

template <>
ENCODER void encode_row<BlockQ3_K>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockQ3_K, Q3KLevels, 16, -32, 31>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockQ4_K>(const float* x, const float* importance, void* row, int64_t n) {
  encode_affine<BlockQ4_K, 15, 63, 32>(x, importance, row, n, kTry4Bits);
}

template <>
ENCODER void encode_row<BlockQ5_K>(const float* x, const float* importance, void* row, int64_t n) {
  encode_affine<BlockQ5_K, 31, 63, 32>(x, importance, row, n, kTry5Bits);
}

template <>
ENCODER void encode_row<BlockQ6_K>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockQ6_K, Q6KLevels, 16, -128, 127>(x, importance, row, n);
}

template <>
ENCODER void encode_row<BlockIQ4_XS>(const float* x, const float* importance, void* row, int64_t n) {
  encode_scaled<BlockIQ4_XS, Iq4Levels, 32, -32, 31>(x, importance, row, n);
}

}  // namespace hearth
