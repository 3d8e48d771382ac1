#include "runtime/model/yarn.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace hearth;

namespace {

// DeepSeek's published values.
ModelConfig published() {
  ModelConfig c;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.rope_theta = 10000;
  c.yarn = {.enabled = true, .factor = 40, .original_context = 4096, .log_multiplier = 0.1f};
  return c;
}

}  // namespace

TEST_CASE("yarn: pairs 0..10 keep their frequency, 23..31 are divided by 40, those between are blended") {
  const ModelConfig c = published();
  const auto f = rope_frequencies(c);
  REQUIRE(f.size() == 32);
  for (size_t j = 0; j < f.size(); ++j) {
    CAPTURE(j);
    const double base = std::pow(10000.0, -double(j) / 32);
    if (j <= 10) CHECK(f[j] == doctest::Approx(base).epsilon(1e-12));
    if (j >= 23) CHECK(f[j] == doctest::Approx(base / 40).epsilon(1e-12));
    if (j > 10 && j < 23) {
      const double ramp = (double(j) - 10) / 13;
      CHECK(f[j] == doctest::Approx(base * (1 - ramp) + base / 40 * ramp).epsilon(1e-12));
    }
  }
}

TEST_CASE("yarn: without it the frequencies are theta^(-2j/d)") {
  ModelConfig c = published();
  c.yarn.enabled = false;
  const auto f = rope_frequencies(c);
  for (size_t j = 0; j < f.size(); ++j)
    CHECK(f[j] == doctest::Approx(std::pow(10000.0, -double(j) / 32)).epsilon(1e-12));
}

TEST_CASE("yarn: the softmax scale of docs/model.md") {
  ModelConfig c = published();
  CHECK(c.softmax_scale() == doctest::Approx(0.135234).epsilon(1e-5));
  c.yarn.log_multiplier = 0.0707f;
  CHECK(c.softmax_scale() == doctest::Approx(0.114721).epsilon(1e-5));
  c.yarn.enabled = false;
  CHECK(c.softmax_scale() == doctest::Approx(0.0721688).epsilon(1e-5));
}

TEST_CASE("yarn: angles are (cos, sin) of position times frequency, exact far out as well") {
  const ModelConfig c = published();
  const int64_t n_ctx = 100001;
  const auto f = rope_frequencies(c);
  const auto angles = rope_angles(c, n_ctx);
  REQUIRE(angles.size() == size_t(n_ctx) * 64);
  for (const int64_t position : {int64_t(0), int64_t(1), int64_t(4096), int64_t(100000)}) {
    for (size_t j = 0; j < 32; ++j) {
      CAPTURE(position);
      CAPTURE(j);
      const double angle = double(position) * f[j];
      CHECK(angles[size_t(position) * 64 + 2 * j] == float(std::cos(angle)));
      CHECK(angles[size_t(position) * 64 + 2 * j + 1] == float(std::sin(angle)));
    }
  }
}
