// Encoders of the formats whose levels are fp4 numbers: MXFP4, whose scales are powers of two, and NVFP4, whose scales
// are fp8 numbers without a sign. Scales are so coarse that the best one is found among those that can be stored: eight
// groups at a time, one per lane, some candidates each.
#include <algorithm>

#include "quant/blocks.h"
#include "quant/decode.h"
#include "quant/encode.h"
#include "quant/encode_search.h"

namespace hearth {
namespace {

#define LANES_LAMBDA __attribute__((always_inline))

// e2m1, doubled: 0 1 2 3 4 6 8 12 and their negatives.
struct E2m1Levels {
  static LANES_INLINE Lanes nearest(Lanes y) {
    const Lanes size = min(max(y, -y), broadcast(12));
    const Lanes fine = round_near(size), middle = round_near(size * 0.5f) * 2, coarse = round_near(size * 0.25f) * 4;
    const Lanes level = size <= 4.0f ? fine : size <= 8.0f ? middle : coarse;
    return y < 0.0f ? -level : level;
  }
  static int code(float level) {
    const int size = int(level < 0 ? -level : level);
    return (size <= 4 ? size : size == 6 ? 5 : size == 8 ? 6 : 7) | (level < 0 ? 8 : 0);
  }
};

// Up to eight neighbouring groups of N weights, none larger than `limit`; lanes without one hold zeros.
template <int N>
struct GroupBatch {
  int count;
  Scaling scaling[kLanes];
  Groups<N> g;

  LANES_INLINE GroupBatch(const float* x, const float* importance, int64_t n_weights, float limit)
      : count(int(std::min<int64_t>(n_weights / N, kLanes))) {
    for (int lane = 0; lane < kLanes; ++lane) {
      float from[N] = {};
      for (int i = 0; lane < count && i < N; ++i) from[i] = std::clamp(x[lane * N + i], -limit, limit);
      const float* weights = lane < count && importance ? importance + lane * N : nullptr;
      scaling[lane] = Scaling(from, weights, N);
      load_lane(g, lane, scaling[lane], from, weights);
    }
  }
};

// The code of the scale of each lane's group among `tries` codes from first[lane] on, and what it decodes to as the
// search sees it: the one with the least error.
template <int tries, int N, class Decode>
LANES_INLINE Lanes best_code(const GroupBatch<N>& batch, const int (&first)[kLanes], int largest, const Decode& decode,
                             uint8_t (&code)[kLanes]) {
  ScaleFit best{Lanes{}, broadcast(INFINITY)};
  for (int i = 0; i < tries; ++i) {
    Lanes d{};
    int own[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      own[lane] = std::clamp(first[lane] + i, 0, largest);
      d[lane] = decode(uint8_t(own[lane])) * batch.scaling[lane].down();
    }
    const Lanes error = round_to_levels<E2m1Levels>(batch.g, d).wrr;
    for (int lane = 0; lane < kLanes; ++lane) {
      if (i == 0 || error[lane] < best.error[lane]) code[lane] = uint8_t(own[lane]);
    }
    keep_better(best, {d, error});
  }
  return best.d;
}

// Encodes the groups of N weights of a row, eight at a time. choose(batch, code) finds the scales; store(i, code,
// nibbles) puts group i's scale into the row, and its codes: the first half of the weights in the low nibbles.
template <int N, class Choose, class Store>
LANES_INLINE void encode_groups(const float* x, const float* importance, int64_t n, float limit, const Choose& choose,
                                const Store& store) {
  for (int64_t at = 0; at < n; at += kLanes * N) {
    const GroupBatch<N> batch(x + at, importance ? importance + at : nullptr, n - at, limit);
    uint8_t code[kLanes];
    const Lanes id = inverse(choose(batch, code));
    Lanes levels[N];
    for (int i = 0; i < N; ++i) levels[i] = E2m1Levels::nearest(batch.g.x[i] * id);
    for (int lane = 0; lane < batch.count; ++lane) {
      uint8_t nibbles[N / 2];
      for (int i = 0; i < N / 2; ++i) {
        nibbles[i] = uint8_t(E2m1Levels::code(levels[i][lane]) | E2m1Levels::code(levels[i + N / 2][lane]) << 4);
      }
      store(at / N + lane, code[lane], nibbles);
    }
  }
}

}  // namespace

// The largest weight, in [1, 2) here, is put at 4 to 8, at 8 to 16, or at 16 to 32, which cuts off.
template <>
ENCODER void encode_row<BlockMXFP4>(const float* x, const float* importance, void* row, int64_t n) {
  constexpr int kLargest = 252;  // 12 * 2^(253 - 128) is more than a float
  const auto choose = [](const GroupBatch<32>& batch, uint8_t(&code)[kLanes]) LANES_LAMBDA {
    int first[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) first[lane] = 128 - 4 + batch.scaling[lane].exponent;
    return best_code<3>(batch, first, kLargest, half_of_e8m0, code);
  };
  encode_groups<32>(x, importance, n, INFINITY, choose,
                    [&](int64_t i, uint8_t code, const uint8_t* nibbles) LANES_LAMBDA {
                      BlockMXFP4& b = static_cast<BlockMXFP4*>(row)[i];
                      b.e = code;
                      std::copy_n(nibbles, 16, b.qs);
                    });
}

// The largest weight is put at 16 or more, which cuts off, and at ever lower levels down to about 6.
template <>
ENCODER void encode_row<BlockNVFP4>(const float* x, const float* importance, void* row, int64_t n) {
  constexpr int kLargest = 0x7e;
  constexpr float kLimit = 448 / 2 * 12;
  const auto choose = [](const GroupBatch<16>& batch, uint8_t(&code)[kLanes]) LANES_LAMBDA {
    Lanes largest{};
    for (const Lanes v : batch.g.x) largest = max(largest, max(v, -v));
    int first[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      first[lane] = float_to_e4m3(largest[lane] * batch.scaling[lane].up() * (2.0f / 12)) - 6;
    }
    return best_code<18>(batch, first, kLargest, half_of_ue4m3, code);
  };
  encode_groups<16>(x, importance, n, kLimit, choose,
                    [&](int64_t i, uint8_t code, const uint8_t* nibbles) LANES_LAMBDA {
                      BlockNVFP4& b = static_cast<BlockNVFP4*>(row)[i / 4];
                      b.d[i % 4] = code;
                      std::copy_n(nibbles, 8, b.qs + i % 4 * 8);
                    });
}

}  // namespace hearth
