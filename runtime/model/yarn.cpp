#include "runtime/model/yarn.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace hearth {
namespace {

// The pair, counted in dimensions, that turns `rotations` times over the original context.
double dimension_of(double rotations, const ModelConfig& c) {
  const double turns = double(c.yarn.original_context) / (2 * std::numbers::pi * rotations);
  return double(c.qk_rope_head_dim) * std::log(turns) / (2 * std::log(double(c.rope_theta)));
}

}  // namespace

// Pairs that turn often keep their frequency, pairs that turn less than once are slowed by `factor`, those between are
// blended. With DeepSeek's numbers: pairs 0..10 untouched, 23..31 divided by 40.
std::vector<double> rope_frequencies(const ModelConfig& c) {
  std::vector<double> frequencies(size_t(c.qk_rope_head_dim / 2));
  const double low = c.yarn.enabled ? std::max(std::floor(dimension_of(c.yarn.beta_fast, c)), 0.0) : 0;
  const double high =
      c.yarn.enabled ? std::min(std::ceil(dimension_of(c.yarn.beta_slow, c)), double(c.qk_rope_head_dim - 1)) : 0;
  for (size_t j = 0; j < frequencies.size(); ++j) {
    const double base = std::pow(double(c.rope_theta), -2.0 * double(j) / double(c.qk_rope_head_dim));
    const double ramp = std::clamp((double(j) - low) / std::max(high - low, 0.001), 0.0, 1.0);
    frequencies[j] = c.yarn.enabled ? base * (1 - ramp) + base / double(c.yarn.factor) * ramp : base;
  }
  return frequencies;
}

// The magnitude factor M(mscale) / M(mscale_all_dim) of cos and sin is 1: the file does not store mscale, and every
// published model has the two equal.
std::vector<float> rope_angles(const ModelConfig& c, int64_t n_ctx) {
  const std::vector<double> frequencies = rope_frequencies(c);
  std::vector<float> angles(size_t(n_ctx) * frequencies.size() * 2);
  float* out = angles.data();
  for (int64_t position = 0; position < n_ctx; ++position) {
    for (const double frequency : frequencies) {
      *out++ = float(std::cos(double(position) * frequency));
      *out++ = float(std::sin(double(position) * frequency));
    }
  }
  return angles;
}

// S = (d_nope + d_rope)^-1/2 * m^2, m = 1 + 0.1 mscale_all_dim ln(factor). The width is the head's own (192), also when
// attention runs absorbed over 576 values; the factor holds at every position, short prompts included.
float ModelConfig::softmax_scale() const {
  const double m = yarn.enabled ? 1 + double(yarn.log_multiplier) * std::log(double(yarn.factor)) : 1;
  return float(m * m / std::sqrt(double(qk_head_dim())));
}

}  // namespace hearth
