// The searches for the scales of single groups, eight at once. Both try a few scales; each try rounds the weights to
// levels, fits the scale to these levels by least squares (which gives the error that is left, without a second pass)
// and the best fit is refined by rounding and fitting again.
//
// The tries were chosen greedily, from a fine grid, for the least mean error over groups of Gaussian and t-distributed
// weights: these few come within 0.1 % of trying the whole grid.
#pragma once

#include "quant/encode_lanes.h"

namespace hearth {

// ---- value = d * level. `Levels` has nearest(y), the level nearest to y, and kTry[], where to try putting a group's
// extreme weight.

struct ScaleSums {
  Lanes wrr, wrq, wqq;  // of weight w, level q, residual r = x - d * q
};

template <class Levels, int N>
LANES_INLINE ScaleSums round_to_levels(const Groups<N>& g, Lanes d) {
  const Lanes id = inverse(d);
  ScaleSums s{};
  for (int i = 0; i < N; ++i) {
    const Lanes q = Levels::nearest(g.x[i] * id), r = g.x[i] - d * q, wr = g.w[i] * r, wq = g.w[i] * q;
    s.wrr += wr * r;
    s.wrq += wr * q;
    s.wqq += wq * q;
  }
  return s;
}

struct ScaleFit {
  Lanes d, error;  // error = sum of w * (x - d * level)^2
};

LANES_INLINE void keep_better(ScaleFit& best, const ScaleFit& other) {
  const auto better = other.error < best.error;
  best.d = better ? other.d : best.d;
  best.error = better ? other.error : best.error;
}

// Levels chosen with scale d, then d fitted to them.
template <class Levels, int N>
LANES_INLINE ScaleFit fit_scale(const Groups<N>& g, Lanes d) {
  const ScaleSums s = round_to_levels<Levels>(g, d);
  const Lanes step = ratio(s.wrq, s.wqq);
  return {d + step, s.wrr - step * s.wrq};
}

template <class Levels, int N>
LANES_INLINE Lanes search_scale(const Groups<N>& g) {
  Lanes low{}, high{};
  for (int i = 0; i < N; ++i) low = min(low, g.x[i]), high = max(high, g.x[i]);
  const Lanes extreme = high > -low ? high : low;
  ScaleFit best{Lanes{}, broadcast(INFINITY)};
  for (const float place : Levels::kTry) keep_better(best, fit_scale<Levels>(g, extreme * (1 / place)));
  keep_better(best, fit_scale<Levels>(g, best.d));
  return best.d;
}

// ---- value = d * q + m, q an integer 0..Max

struct AffineSums {
  Lanes w, wq, wqq, wr, wrq, wrr;  // r = x - d * q - m
};

template <int Max>
LANES_INLINE Lanes affine_level(Lanes x, Lanes id, Lanes m) {
  return round_near(clamp((x - m) * id, 0, Max));
}

template <int Max, int N>
LANES_INLINE AffineSums round_affine(const Groups<N>& g, Lanes d, Lanes m) {
  const Lanes id = inverse(d);
  AffineSums s{};
  for (int i = 0; i < N; ++i) {
    const Lanes q = affine_level<Max>(g.x[i], id, m), r = (g.x[i] - m) - d * q, wr = g.w[i] * r, wq = g.w[i] * q;
    s.w += g.w[i];
    s.wq += wq;
    s.wqq += wq * q;
    s.wr += wr;
    s.wrq += wr * q;
    s.wrr += wr * r;
  }
  return s;
}

struct AffineFit {
  Lanes d, m, error;  // error = sum of w * (x - d * q - m)^2
};

LANES_INLINE void keep_better(AffineFit& best, const AffineFit& other) {
  const auto better = other.error < best.error;
  best.d = better ? other.d : best.d;
  best.m = better ? other.m : best.m;
  best.error = better ? other.error : best.error;
}

// q chosen with (d, m), then (d, m) fitted to them. kMinimum: m must not be above 0.
template <int Max, bool kMinimum, int N>
LANES_INLINE AffineFit fit_affine(const Groups<N>& g, Lanes d, Lanes m) {
  const AffineSums s = round_affine<Max>(g, d, m);
  // The steps (e, f) of (d, m) that minimise the sum of w * (r - e * q - f)^2; f alone where all q are the same.
  const Lanes det = s.w * s.wqq - s.wq * s.wq;
  const auto regular = det > 1e-5f * (s.w * s.wqq);
  Lanes f = regular ? (s.wqq * s.wr - s.wq * s.wrq) / det : s.wr / s.w;
  if (kMinimum) f = min(f, -m);
  const Lanes e = (regular | (f == -m)) ? ratio(s.wrq - f * s.wq, s.wqq) : Lanes{};
  const Lanes error = s.wrr - 2.0f * (e * s.wrq + f * s.wr) + e * e * s.wqq + 2.0f * (e * f) * s.wq + f * f * s.w;
  return {d + e, m + f, error};
}

// A try: how far inside the group's range the first and the last level lie, in steps of range / Max.
struct AffineTry {
  float first, last;
};

template <int Max, bool kMinimum, int N, int kTries>
LANES_INLINE AffineFit search_affine(const Groups<N>& g, const AffineTry (&tries)[kTries]) {
  Lanes low = g.x[0], high = g.x[0];
  if (kMinimum) low = min(low, Lanes{});
  for (int i = 1; i < N; ++i) low = min(low, g.x[i]), high = max(high, g.x[i]);
  const Lanes step = (high - low) * (1.0f / Max);
  AffineFit best{Lanes{}, Lanes{}, broadcast(INFINITY)};
  for (const AffineTry& t : tries) {
    keep_better(best, fit_affine<Max, kMinimum>(g, step * (1 - (t.first + t.last) / Max), low + step * t.first));
  }
  keep_better(best, fit_affine<Max, kMinimum>(g, best.d, best.m));
  return best;
}

}  // namespace hearth
