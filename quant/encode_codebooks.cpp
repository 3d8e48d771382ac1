// Encoders of the formats whose weights are points of a codebook: IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S. Eight
// groups of 16 or 32 weights side by side, as in encode_superblock.h, whose three steps these are too. Where the others
// round a weight to a level, here a tuple of weights becomes the best of all points: a point's error is the sum of two
// halves', and there are only some 64 or 81 different halves.
#include <array>
#include <cstring>

#include "quant/blocks.h"
#include "quant/decode.h"
#include "quant/encode.h"
#include "quant/encode_superblock.h"

namespace hearth {
namespace {

using Ints = int32_t __attribute__((vector_size(sizeof(Lanes))));

constexpr int power(int base, int exponent) {
  return exponent == 0 ? 1 : base * power(base, exponent - 1);
}

// The two halves of each point: level numbers as the digits of a number, the first coordinate highest.
template <class Book>
struct Halves {
  static constexpr int kCoords = Book::kCoords / 2, kCount = power(Book::kLevels, kCoords);
  uint8_t low[Book::kPoints], high[Book::kPoints];

  static constexpr Halves make() {
    Halves halves{};
    for (int n = 0; n < Book::kPoints; ++n) {
      const auto number = [&](int first) {
        int digits = 0;
        for (int i = 0; i < kCoords; ++i)
          digits = Book::kLevels * digits + int(codebook::kPoints<Book>.of[n] >> 4 * (first + i) & 15);
        return uint8_t(digits);
      };
      halves.low[n] = number(0);
      halves.high[n] = number(kCoords);
    }
    return halves;
  }
};
template <class Book>
constexpr Halves<Book> kHalves = Halves<Book>::make();

// The error of coordinates [first, first + n) of all tuples of levels: sums[number].
template <class Book, int kCoords>
LANES_INLINE void half_errors(const Lanes (&error)[Book::kCoords][Book::kLevels], int first, Lanes* sums) {
  sums[0] = Lanes{};
  int n = 1;
  for (int i = 0; i < kCoords; ++i) {
    for (int number = n - 1; number >= 0; --number) {
      const Lanes so_far = sums[number];
      for (int l = 0; l < Book::kLevels; ++l) sums[Book::kLevels * number + l] = so_far + error[first + i][l];
    }
    n *= Book::kLevels;
  }
}

struct Nearest {
  Lanes error;  // less the constant sum of w * x^2
  Ints point;
};

// The point with the least error for each lane's tuple x with weights w: sum of w * (x - a * (level + shift))^2.
template <class Book>
LANES_INLINE Nearest nearest_point(const Lanes* x, const Lanes* w, Lanes a, float shift) {
  constexpr int kCoords = Book::kCoords, kHalf = Halves<Book>::kCoords;
  Lanes error[kCoords][Book::kLevels];
  for (int i = 0; i < kCoords; ++i) {
    for (int l = 0; l < Book::kLevels; ++l) {
      const Lanes value = a * (float(Book::level(l)) + shift);
      error[i][l] = w[i] * value * (value - 2.0f * x[i]);
    }
  }
  Lanes low[Halves<Book>::kCount], high[Halves<Book>::kCount];
  half_errors<Book, kHalf>(error, 0, low);
  half_errors<Book, kHalf>(error, kHalf, high);
  Nearest best{low[kHalves<Book>.low[0]] + high[kHalves<Book>.high[0]], Ints{}};
  for (int n = 1; n < Book::kPoints; ++n) {
    const Lanes e = low[kHalves<Book>.low[n]] + high[kHalves<Book>.high[n]];
    const auto better = e < best.error;
    best.error = better ? e : best.error;
    best.point = better ? Ints{} + n : best.point;
  }
  return best;
}

// ---- What a format chooses for a group beside its scale

template <class Block>
struct Shape;  // kGroup: weights of a group.  kMaxScale: 2 * the largest scale + 1.  kParity: seven signs of eight
               // stored
template <int group, int max_scale, bool parity, bool own_shifts = false>
struct ShapeOf {
  static constexpr int kGroup = group, kMaxScale = max_scale;
  static constexpr bool kParity = parity, kOwnShifts = own_shifts;  // a shift for each eight weights, not each group
};
template <>
struct Shape<BlockIQ2_XXS> : ShapeOf<32, 31, true> {};
template <>
struct Shape<BlockIQ2_XS> : ShapeOf<16, 31, true> {};
template <>
struct Shape<BlockIQ2_S> : ShapeOf<16, 31, false> {};
template <>
struct Shape<BlockIQ3_XXS> : ShapeOf<32, 31, true> {};
template <>
struct Shape<BlockIQ3_S> : ShapeOf<32, 31, false> {};
template <>
struct Shape<BlockIQ1_S> : ShapeOf<32, 15, false> {};
template <>
struct Shape<BlockIQ1_M> : ShapeOf<16, 15, false, true> {};

// Points and shifts of eight groups.
template <class Block>
struct Choice {
  static constexpr int kN = Shape<Block>::kGroup;
  Ints point[kN / Block::Book::kCoords];
  Lanes shift[kN / 8];  // only where the codebook is shifted
};

// All points for the scale a, and the sums of their fit.
template <class Block, int N>
LANES_INLINE ScaleSums choose_points(const Groups<N>& g, Lanes a, Choice<Block>& choice) {
  using Book = typename Block::Book;
  constexpr int kCoords = Book::kCoords;
  if constexpr (!Book::kShifted) {
    for (int t = 0; t < N / kCoords; ++t)
      choice.point[t] = nearest_point<Book>(g.x + t * kCoords, g.w + t * kCoords, a, 0).point;
  } else {
    Nearest up[N / 8], down[N / 8];
    for (int t = 0; t < N / 8; ++t) {
      up[t] = nearest_point<Book>(g.x + 8 * t, g.w + 8 * t, a, 1);
      down[t] = nearest_point<Book>(g.x + 8 * t, g.w + 8 * t, a, -1);
    }
    if constexpr (!Shape<Block>::kOwnShifts) {  // one for all
      Lanes sum_up{}, sum_down{};
      for (int t = 0; t < N / 8; ++t) sum_up += up[t].error, sum_down += down[t].error;
      for (int t = 0; t < N / 8; ++t) up[t].error = sum_up, down[t].error = sum_down;
    }
    for (int t = 0; t < N / 8; ++t) {
      const auto is_up = up[t].error <= down[t].error;
      choice.point[t] = is_up ? up[t].point : down[t].point;
      choice.shift[t] = is_up ? broadcast(1) : broadcast(-1);
    }
  }
  ScaleSums s{};
  for (int t = 0; t < N / kCoords; ++t) {
    Lanes level[kCoords];
    for (int lane = 0; lane < kLanes; ++lane) {
      const uint32_t digits = codebook::kPoints<Book>.of[choice.point[t][lane]];
      for (int i = 0; i < kCoords; ++i) level[i][lane] = float(Book::level(int(digits >> 4 * i & 15)));
    }
    for (int i = 0; i < kCoords; ++i) {
      const int at = t * kCoords + i;
      const Lanes q = Book::kShifted ? level[i] + choice.shift[at / 8] : level[i];
      const Lanes r = g.x[at] - a * q, wr = g.w[at] * r, wq = g.w[at] * q;
      s.wrr += wr * r;
      s.wrq += wr * q;
      s.wqq += wq * q;
    }
  }
  return s;
}

// ---- A block: 256 weights. Magnitudes and signs apart, unless the levels have signs.

template <class Block>
struct Magnitudes : SuperBlock<Shape<Block>::kGroup> {
  static constexpr int N = Shape<Block>::kGroup;
  uint8_t signs[32] = {};  // of weights 8 m .. 8 m + 7

  LANES_INLINE Magnitudes(const float* x, const float* importance) : SuperBlock<N>(x, importance) {
    if constexpr (!Block::Book::kShifted) {
      if (importance) this->by_size();
      for (int m = 0; m < 32; ++m) take_signs(m);
    }
  }

 private:
  // Where the eighth sign is not free and would be wrong, the weight whose sign matters least gets the wrong one.
  LANES_INLINE void take_signs(int m) {
    const int lane = 8 * m / N % kLanes, first = 8 * m % N;
    Groups<N>& g = this->g[8 * m / N / kLanes];
    int least = 0, count = 0;
    float least_matter = INFINITY;
    for (int i = 0; i < 8; ++i) {
      float x = g.x[first + i][lane];
      const float matter = g.w[first + i][lane] * x * x;
      if (matter < least_matter) least_matter = matter, least = i;
      if (x < 0) signs[m] = uint8_t(signs[m] | 1 << i), ++count, x = -x;
      g.x[first + i][lane] = x;
    }
    if (Shape<Block>::kParity && count % 2 != 0) {
      signs[m] = uint8_t(signs[m] ^ 1 << least);
      g.x[first + least][lane] = -g.x[first + least][lane];
    }
  }
};

template <class Block>
struct Found {
  static constexpr int N = Shape<Block>::kGroup;
  uint16_t d;
  Lanes scale[kBatches<N>];  // odd integers
  Choice<Block> choice[kBatches<N>];
  float error;
  float fitted_d;
  float gain;
};

// Step 3: with d as stored, each group tries the odd integers around its scale.
template <class Block>
LANES_INLINE Found<Block> choose_scales(const Magnitudes<Block>& b, const Lanes* wanted, uint16_t d_bits) {
  constexpr int N = Shape<Block>::kGroup;
  Found<Block> out;
  out.d = d_bits;
  const float d = b.scaling.from_fp16(d_bits) / Block::kUnits;
  const Lanes id = inverse(broadcast(d));
  ScaleSums block{};
  for (int v = 0; v < kBatches<N>; ++v) {
    const Lanes nearest = 2.0f * round_near((wanted[v] * id - 1.0f) * 0.5f) + 1.0f;
    ScaleSums best{broadcast(INFINITY), {}, {}};
    for (const float off : kAround) {
      const Lanes scale = clamp(nearest + 2 * off, 1, Shape<Block>::kMaxScale);
      Choice<Block> choice;
      const ScaleSums s = choose_points<Block>(b.g[v], d * scale, choice);
      const auto better = s.wrr < best.wrr;
      best.wrr = better ? s.wrr : best.wrr;
      best.wrq = better ? s.wrq * scale : best.wrq;
      best.wqq = better ? s.wqq * scale * scale : best.wqq;
      out.scale[v] = better ? scale : out.scale[v];
      for (int t = 0; t < N / Block::Book::kCoords; ++t)
        out.choice[v].point[t] = better ? choice.point[t] : out.choice[v].point[t];
      if constexpr (Block::Book::kShifted) {
        for (int t = 0; t < N / 8; ++t) out.choice[v].shift[t] = better ? choice.shift[t] : out.choice[v].shift[t];
      }
    }
    block.wrr += best.wrr;
    block.wrq += best.wrq;
    block.wqq += best.wqq;
  }
  const float wqq = sum(block.wqq);
  out.error = sum(block.wrr);
  out.gain = gain(out.error, d * sum(block.wrq), d * d * wqq);
  out.fitted_d = (d + (wqq > 0 ? sum(block.wrq) / wqq : 0)) * Block::kUnits;
  return out;
}

// Where to try putting a group's largest magnitude.
template <class Book>
constexpr std::array<float, 4> kTry = {44, 36, 52, 62};
template <>
constexpr std::array<float, 4> kTry<codebook::Iq3Xxs> = {62, 56, 70, 50};
template <>
constexpr std::array<float, 4> kTry<codebook::Iq3S> = {15, 13.5f, 17, 12};
template <>
constexpr std::array<float, 2> kTry<codebook::Iq1> = {10, 16};

// Where a group goes whose weights are about as large as each other: a level of which all tuples are made.
template <class Book>
constexpr float kFlat = float(Book::level(0));
template <>
constexpr float kFlat<codebook::Iq1> = 9;

template <int N>
LANES_INLINE bool any_flat(const Groups<N>& g, Lanes extreme) {
  Lanes sum{};
  for (int i = 0; i < N; ++i) sum += max(g.x[i], -g.x[i]);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (sum[lane] > 0.75f * N * extreme[lane]) return true;
  }
  return false;
}

template <class Block>
LANES_INLINE Found<Block> search(const Magnitudes<Block>& b) {
  constexpr int N = Shape<Block>::kGroup;
  Lanes wanted[kBatches<N>];
  float largest = 0;
  for (int v = 0; v < kBatches<N>; ++v) {
    Lanes extreme{};
    for (int i = 0; i < N; ++i) extreme = max(extreme, max(b.g[v].x[i], -b.g[v].x[i]));
    ScaleFit best{Lanes{}, broadcast(INFINITY)};
    Choice<Block> choice;
    const auto attempt = [&](Lanes a) __attribute__((always_inline)) {
      const ScaleSums s = choose_points<Block>(b.g[v], a, choice);
      const Lanes step = ratio(s.wrq, s.wqq);
      keep_better(best, {a + step, s.wrr - step * s.wrq});
    };
    for (const float place : kTry<typename Block::Book>) attempt(extreme * (1 / place));
    if (any_flat(b.g[v], extreme)) attempt(extreme * (1 / kFlat<typename Block::Book>));
    attempt(best.d);
    wanted[v] = max(best.d, Lanes{});
    for (int lane = 0; lane < kLanes; ++lane) largest = std::max(largest, wanted[v][lane]);
  }
  const auto first = choose_scales(b, wanted, b.scaling.to_fp16_up(largest / Shape<Block>::kMaxScale * Block::kUnits));
  const auto second = choose_scales(b, wanted, b.scaling.to_fp16(first.fitted_d));
  return second.error < first.error ? second : first;
}

// ---- Bits: of one block, all of whose numbers are chosen

struct Numbers {
  uint16_t d;
  int scale[16];   // of groups: odd
  int point[64];   // of tuples
  bool minus[32];  // shifts
  uint8_t signs[32];
};

uint32_t word_of(const Numbers& n, int g) {
  uint32_t word = uint32_t(n.scale[g] / 2) << 28;
  for (int m = 0; m < 4; ++m) word |= uint32_t(n.signs[4 * g + m] & 127) << 7 * m;
  return word;
}
void pack_scales(uint8_t* nibbles, const int* scale, int n) {
  for (int k = 0; k < n; ++k) nibbles[k / 2] = uint8_t(nibbles[k / 2] | scale[k] / 2 << 4 * (k % 2));
}

void pack(BlockIQ2_XXS& b, const Numbers& n) {
  b.d = n.d;
  for (int g = 0; g < 8; ++g) {
    for (int m = 0; m < 4; ++m) b.qs[8 * g + m] = uint8_t(n.point[4 * g + m]);
    const uint32_t word = word_of(n, g);
    memcpy(b.qs + 8 * g + 4, &word, 4);
  }
}
void pack(BlockIQ2_XS& b, const Numbers& n) {
  b.d = n.d;
  for (int m = 0; m < 32; ++m) b.qs[m] = uint16_t(n.point[m] | (n.signs[m] & 127) << 9);
  pack_scales(b.scales, n.scale, 16);
}
void pack(BlockIQ2_S& b, const Numbers& n) {
  b.d = n.d;
  memcpy(b.signs, n.signs, sizeof b.signs);
  for (int m = 0; m < 32; ++m) {
    b.qs[m] = uint8_t(n.point[m]);
    b.qh[m / 4] = uint8_t(b.qh[m / 4] | n.point[m] >> 8 << 2 * (m % 4));
  }
  pack_scales(b.scales, n.scale, 16);
}
void pack(BlockIQ3_XXS& b, const Numbers& n) {
  b.d = n.d;
  for (int four = 0; four < 64; ++four) b.qs[four] = uint8_t(n.point[four]);
  for (int g = 0; g < 8; ++g) {
    const uint32_t word = word_of(n, g);
    memcpy(b.words + 4 * g, &word, 4);
  }
}
void pack(BlockIQ3_S& b, const Numbers& n) {
  b.d = n.d;
  memcpy(b.signs, n.signs, sizeof b.signs);
  for (int four = 0; four < 64; ++four) {
    b.qs[four] = uint8_t(n.point[four]);
    b.qh[four / 8] = uint8_t(b.qh[four / 8] | n.point[four] >> 8 << four % 8);
  }
  pack_scales(b.scales, n.scale, 8);
}
void pack(BlockIQ1_S& b, const Numbers& n) {
  b.d = n.d;
  for (int m = 0; m < 32; ++m) {
    b.qs[m] = uint8_t(n.point[m]);
    b.qh[m / 4] = uint16_t(b.qh[m / 4] | n.point[m] >> 8 << 3 * (m % 4));
  }
  for (int g = 0; g < 8; ++g) b.qh[g] = uint16_t(b.qh[g] | n.scale[g] / 2 << 12 | int(n.minus[4 * g]) << 15);
}
void pack(BlockIQ1_M& b, const Numbers& n) {
  for (int m = 0; m < 32; ++m) {
    b.qs[m] = uint8_t(n.point[m]);
    b.qh[m / 2] = uint8_t(b.qh[m / 2] | (n.point[m] >> 8 | int(n.minus[m]) << 3) << 4 * (m % 2));
  }
  for (int k = 0; k < 16; ++k) b.scales[k / 4] = uint16_t(b.scales[k / 4] | n.scale[k] / 2 << 3 * (k % 4));
  for (int i = 0; i < 4; ++i) b.scales[i] = uint16_t(b.scales[i] | (n.d >> 4 * i & 15) << 12);
}

template <class Block>
LANES_INLINE void encode_points(const float* x, const float* importance, void* row, int64_t n) {
  constexpr int N = Shape<Block>::kGroup, kCoords = Block::Book::kCoords;
  for (int64_t at = 0; at < n; at += kSuperBlock) {
    const Magnitudes<Block> b(x + at, importance ? importance + at : nullptr);
    const Found<Block> found = search(b);
    Numbers numbers{};
    numbers.d = b.scaling.to_fp16(b.scaling.from_fp16(found.d) * found.gain);
    memcpy(numbers.signs, b.signs, sizeof numbers.signs);
    for (int k = 0; k < kSuperBlock / N; ++k) {
      const int v = k / kLanes, lane = k % kLanes;
      numbers.scale[k] = int(found.scale[v][lane]);
      for (int t = 0; t < N / kCoords; ++t) numbers.point[k * N / kCoords + t] = found.choice[v].point[t][lane];
      if constexpr (Block::Book::kShifted) {
        for (int t = 0; t < N / 8; ++t) numbers.minus[k * N / 8 + t] = found.choice[v].shift[t][lane] < 0;
      }
    }
    Block& out = static_cast<Block*>(row)[at / kSuperBlock];
    out = {};
    pack(out, numbers);
  }
}

}  // namespace

template <>
ENCODER void encode_row<BlockIQ2_XXS>(const float* x, const float* importance, void* row, int64_t n) {
  encode_points<BlockIQ2_XXS>(x, importance, row, n);
}
template <>
ENCODER void encode_row<BlockIQ2_XS>(const float* x, const float* importance, void* row, int64_t n) {
  encode_points<BlockIQ2_XS>(x, importance, row, n);
}
template <>
ENCODER void encode_row<BlockIQ2_S>(const float* x, const float* importance, void* row, int64_t n) {
  encode_points<BlockIQ2_S>(x, importance, row, n);
}
template <>
ENCODER void encode_row<BlockIQ3_XXS>(const float* x, const float* importance, void* row, int64_t n) {
  encode_points<BlockIQ3_XXS>(x, importance, row, n);
}
template <>
ENCODER void encode_row<BlockIQ3_S>(const float* x, const float* importance, void* row, int64_t n) {
  encode_points<BlockIQ3_S>(x, importance, row, n);
}
template <>
ENCODER void encode_row<BlockIQ1_S>(const float* x, const float* importance, void* row, int64_t n) {
  encode_points<BlockIQ1_S>(x, importance, row, n);
}
template <>
ENCODER void encode_row<BlockIQ1_M>(const float* x, const float* importance, void* row, int64_t n) {
  encode_points<BlockIQ1_M>(x, importance, row, n);
}

}  // namespace hearth
