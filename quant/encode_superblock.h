// The search of the formats with two levels of scales. A block of 256 weights is 8 groups of 32 or 16 groups of 16, and
// eight groups are a batch: one per lane. In three steps:
//   1. each group's own best scale (and minimum), as if it were stored exactly;
//   2. the block's fp16 d (and dmin), so that the largest fits its integer;
//   3. each group tries the integers around its scale (and minimum), with d as stored and the weights rounded anew;
//      then d (and dmin) are fitted to all the levels by least squares, and step 3 is done once more.
//
// Formats of less than three bits do two things more, without which a model of them is much worse than its error says
// (docs/quality.md): `by_size` and `gain`.
#pragma once

#include "quant/encode_search.h"

namespace hearth {

constexpr int kSuperBlock = 256;
template <int N>
constexpr int kBatches = kSuperBlock / N / kLanes;

template <int N>
struct SuperBlock {
  Scaling scaling;
  Groups<N> g[kBatches<N>];

  LANES_INLINE SuperBlock(const float* x, const float* importance) : scaling(x, importance, kSuperBlock) {
    for (int k = 0; k < kSuperBlock / N; ++k) {
      load_lane(g[k / kLanes], k % kLanes, scaling, x + k * N, importance ? importance + k * N : nullptr);
    }
  }

  // Importance is told by column, and from few tokens; so that columns of little importance do not lose their large
  // weights, those count for more: w * sqrt(4 * mean square + x^2). (llama.cpp does so with 1 or 2 for 4; 4 costs less
  // of the error as importance has it, and the models are as good.)
  LANES_INLINE void by_size() {
    Lanes squares{};
    for (const Groups<N>& batch : g) {
      for (const Lanes x : batch.x) squares += x * x;
    }
    const Lanes four_means = broadcast(sum(squares) * (4.0f / kSuperBlock));
    for (Groups<N>& batch : g) {
      for (int i = 0; i < N; ++i) batch.w[i] *= square_root(four_means + batch.x[i] * batch.x[i]);
    }
  }
};

// Least squares makes weights smaller: what a block decodes to, y, has the size that leaves x - y at a right angle to
// it, and so <x, y> = <y, y> = (1 - error) <x, x>. That is an error that all matrices of a model have in the same
// direction, where others cancel out. This factor undoes it: <x, gain y> = <x, x>. From the sums over a block of w r^2,
// w r y and w y^2, r = x - y.
inline float gain(float wrr, float wry, float wyy) {
  constexpr float kMost = 2;  // where hardly anything was met
  const float wxy = wry + wyy;
  return wxy > 0 ? std::min((wrr + 2 * wry + wyy) / wxy, kMost) : 1;
}

constexpr float kAround[] = {0, -1, 1};  // step 3 tries the nearest integer first, which wins when equal

// ---- value = d * scale * level

template <int N>
struct BlockScales {
  uint16_t d;                // fp16
  Lanes scale[kBatches<N>];  // integers
  float error;
  float fitted_d;  // the best for the levels that these scales give
};

// Step 3.
template <class Levels, int Low, int High, int N>
LANES_INLINE BlockScales<N> choose_scales(const SuperBlock<N>& b, const Lanes (&wanted)[kBatches<N>], uint16_t d_bits) {
  BlockScales<N> out;
  out.d = d_bits;
  const Lanes d = broadcast(b.scaling.from_fp16(d_bits)), id = inverse(d);
  ScaleSums block{};  // with scale * level for q
  for (int v = 0; v < kBatches<N>; ++v) {
    const Lanes nearest = round_near(wanted[v] * id);
    ScaleSums best{broadcast(INFINITY), {}, {}};
    for (const float off : kAround) {
      const Lanes scale = clamp(nearest + off, Low, High);
      const ScaleSums s = round_to_levels<Levels>(b.g[v], d * scale);
      const auto better = s.wrr < best.wrr;
      best.wrr = better ? s.wrr : best.wrr;
      best.wrq = better ? s.wrq * scale : best.wrq;
      best.wqq = better ? s.wqq * scale * scale : best.wqq;
      out.scale[v] = better ? scale : out.scale[v];
    }
    block.wrr += best.wrr;
    block.wrq += best.wrq;
    block.wqq += best.wqq;
  }
  const float wqq = sum(block.wqq);
  out.error = sum(block.wrr);
  out.fitted_d = d[0] + (wqq > 0 ? sum(block.wrq) / wqq : 0);
  return out;
}

template <class Levels, int Low, int High, int N>
LANES_INLINE BlockScales<N> search_scales(const SuperBlock<N>& b) {
  Lanes wanted[kBatches<N>];
  float low = 0, high = 0;
  for (int v = 0; v < kBatches<N>; ++v) {
    wanted[v] = search_scale<Levels>(b.g[v]);
    for (int lane = 0; lane < kLanes; ++lane) {
      low = std::min(low, wanted[v][lane]);
      high = std::max(high, wanted[v][lane]);
    }
  }
  const float extreme = high > -low ? high : low;  // becomes Low: the negative side has one integer more
  const auto first = choose_scales<Levels, Low, High>(b, wanted, b.scaling.to_fp16_up(extreme / Low));
  const auto second = choose_scales<Levels, Low, High>(b, wanted, b.scaling.to_fp16(first.fitted_d));
  return second.error < first.error ? second : first;
}

// ---- value = d * scale * q - dmin * min, q an integer 0..Max

template <int N>
struct BlockScaleMins {
  uint16_t d, dmin;                                // fp16
  Lanes scale[kBatches<N>], minimum[kBatches<N>];  // integers 0..MaxScale
  float error;
  float fitted_d, fitted_dmin;
  float gain;
};

// Step 3.
template <int Max, int MaxScale, int N>
LANES_INLINE BlockScaleMins<N> choose_scale_mins(const SuperBlock<N>& b, const AffineFit (&wanted)[kBatches<N>],
                                                 uint16_t d_bits, uint16_t dmin_bits) {
  BlockScaleMins<N> out;
  out.d = d_bits;
  out.dmin = dmin_bits;
  const Lanes d = broadcast(b.scaling.from_fp16(d_bits)), dmin = broadcast(b.scaling.from_fp16(dmin_bits));
  const Lanes id = inverse(d), idmin = inverse(dmin);
  AffineSums block{};  // with scale * q for q, and min for 1
  for (int v = 0; v < kBatches<N>; ++v) {
    const Groups<N>& g = b.g[v];
    const Lanes nearest = round_near(wanted[v].d * id), nearest_min = round_near(-wanted[v].m * idmin);
    Lanes error = broadcast(INFINITY), scale{}, minimum{};
    for (const float off : kAround) {
      for (const float min_off : kAround) {
        const Lanes s = clamp(nearest + off, 0, MaxScale), m = clamp(nearest_min + min_off, 0, MaxScale);
        const Lanes e = round_affine<Max>(g, d * s, -dmin * m).wrr;
        const auto better = e < error;
        error = better ? e : error;
        scale = better ? s : scale;
        minimum = better ? m : minimum;
      }
    }
    out.scale[v] = scale;
    out.minimum[v] = minimum;
    const AffineSums s = round_affine<Max>(g, d * scale, -dmin * minimum);
    block.w += s.w * minimum * minimum;
    block.wq += s.wq * scale * minimum;
    block.wqq += s.wqq * scale * scale;
    block.wr += s.wr * minimum;
    block.wrq += s.wrq * scale;
    block.wrr += s.wrr;
  }
  out.error = sum(block.wrr);
  // The steps (e, f) of (d, dmin) that minimise the sum of w * (r - e * scale * q + f * min)^2.
  const double w = sum(block.w), wq = sum(block.wq), wqq = sum(block.wqq), wr = sum(block.wr), wrq = sum(block.wrq);
  const double step = d[0], min_step = dmin[0];
  out.gain = gain(out.error, float(step * wrq - min_step * wr),
                  float(step * step * wqq - 2 * step * min_step * wq + min_step * min_step * w));
  const double det = wqq * w - wq * wq;
  const bool regular = det > 1e-6 * wqq * w;
  const double e = regular ? (w * wrq - wq * wr) / det : wqq > 0 ? wrq / wqq : 0;
  const double f = regular ? (wq * wrq - wqq * wr) / det : 0;
  out.fitted_d = float(d[0] + e);
  out.fitted_dmin = float(dmin[0] + f);
  return out;
}

template <int Max, int MaxScale, int N, int kTries>
LANES_INLINE BlockScaleMins<N> search_scale_mins(const SuperBlock<N>& b, const AffineTry (&tries)[kTries]) {
  AffineFit wanted[kBatches<N>];
  float d = 0, dmin = 0;
  for (int v = 0; v < kBatches<N>; ++v) {
    wanted[v] = search_affine<Max, true>(b.g[v], tries);
    for (int lane = 0; lane < kLanes; ++lane) {
      d = std::max(d, wanted[v].d[lane] / MaxScale);
      dmin = std::max(dmin, -wanted[v].m[lane] / MaxScale);
    }
  }
  const Scaling& s = b.scaling;
  const auto first = choose_scale_mins<Max, MaxScale>(b, wanted, s.to_fp16_up(d), s.to_fp16_up(dmin));
  const auto second =
      choose_scale_mins<Max, MaxScale>(b, wanted, s.to_fp16(first.fitted_d), s.to_fp16(first.fitted_dmin));
  return second.error < first.error ? second : first;
}

}  // namespace hearth
