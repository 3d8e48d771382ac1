// RMSNorm, the residual sum and both at once on the device, against the formulas in double.
#include "kernels/cuda/norm.h"

#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/cuda/rounded.h"
#include "tests/kernels/cuda/rows.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr float kEps = 1e-6f;

struct Shape2 {
  int64_t T, d;
};
// One element, part of a warp, one more than a warp, the models' widths, more than all threads take at once.
constexpr Shape2 kShapes[] = {{1, 1}, {3, 7}, {2, 33}, {17, 64}, {1, 576}, {3, 1408}, {1, 2048}, {2, 7168}};

// y is close to w * x / sqrt(mean(x^2) + eps).
void check_norm(const Rows& x, const Rows& w, const Rows& y) {
  Worst worst;
  const int64_t d = x.view().cols;
  for (int64_t t = 0; t < x.view().rows; ++t) {
    const double factor = 1 / std::sqrt(dot(x[t], x[t], d).value / double(d) + kEps);
    for (int64_t i = 0; i < d; ++i) {
      const double expected = double(w[0][i]) * x[t][i] * factor;
      worst.see(y[t][i], expected, std::abs(expected));
    }
  }
  CHECK(worst.error <= 5e-7);
  CHECK(y.clean());
}

// x + y in float32, the one rounding it has.
Rows sum_of(const Rows& x, const Rows& y) {
  Rows sum = x;
  for (int64_t t = 0; t < x.view().rows; ++t) {
    for (int64_t i = 0; i < x.view().cols; ++i) sum.view().row(t)[i] += y[t][i];
  }
  return sum;
}

}  // namespace

TEST_CASE("cuda rms_norm: the formula, in place too") {
  for (const Shape2 s : kShapes) {
    CAPTURE(s.T);
    CAPTURE(s.d);
    Rng rng(1);
    const Rows x = Rows::random(rng, s.T, s.d), w = Rows::random(rng, 1, s.d);
    const DeviceRows device_w(w);
    under_every_schedule([&] {
      const DeviceRows device_x(x), y(s.T, s.d, 2, 6);
      gpu::rms_norm(on_gpu(), device_x.read_only(), device_w.view().data, kEps, y.view());
      const Rows apart = y.download();
      check_norm(x, w, apart);
      gpu::rms_norm(on_gpu(), device_x.read_only(), device_w.view().data, kEps, device_x.view());
      CHECK(device_x.download().same_bits(apart));
    });
  }
}

TEST_CASE("cuda add_rms_norm: the sum, and the norm of the sum, in the bits of the two apart") {
  for (const Shape2 s : kShapes) {
    CAPTURE(s.T);
    CAPTURE(s.d);
    Rng rng(2);
    const Rows x = Rows::random(rng, s.T, s.d), y = Rows::random(rng, s.T, s.d), w = Rows::random(rng, 1, s.d);
    const Rows sum = sum_of(x, y);
    const Rows rest = Rows::random(rng, s.T, s.d);
    const DeviceRows device_w(w), device_y(y, 1), device_rest(rest);
    under_every_schedule([&] {
      const DeviceRows device_x(x), h(s.T, s.d, 2, 6), apart(s.T, s.d);
      gpu::add_rms_norm(on_gpu(), device_y.read_only(), {}, device_x.view(), device_w.view().data, kEps, h.view());
      CHECK(device_x.download().same_bits(sum));
      check_norm(sum, w, h.download());
      gpu::rms_norm(on_gpu(), device_x.read_only(), device_w.view().data, kEps, apart.view());
      CHECK(apart.download().same_bits(h.download()));
      CHECK(device_y.download().same_bits(y));
      const DeviceRows both(x);
      gpu::add_rms_norm(on_gpu(), device_y.read_only(), device_rest.read_only(), both.view(), device_w.view().data,
                        kEps, h.view());
      CHECK(both.download().same_bits(sum_of(sum, rest)));
      check_norm(sum_of(sum, rest), w, h.download());
    });
  }
}

TEST_CASE("cuda norm_one: the bits of rms_norm and add_rms_norm, and the same as integers") {
  for (const int64_t d : {1, 15, 16, 33, 576, 1408, 2048, 7168}) {
    CAPTURE(d);
    Rng rng(uint32_t(d) + 40);
    const Rows x = Rows::random(rng, 1, d), y = Rows::random(rng, 1, d), rest = Rows::random(rng, 1, d);
    const DeviceRows w(Rows::random(rng, 1, d)), device_y(y), device_rest(rest);
    for (const bool adds : {false, true}) {
      const Mat<const float> none;
      const Mat<const float> added = adds ? device_y.read_only() : none, last = adds ? device_rest.read_only() : none;
      const DeviceRows x0(x), h0(1, d);
      if (adds) {
        gpu::add_rms_norm(on_gpu(), added, last, x0.view(), w.view().data, kEps, h0.view());
      } else {
        gpu::rms_norm(on_gpu(), x0.read_only(), w.view().data, kEps, h0.view());
      }
      const Rows h = h0.download();
      under_every_schedule([&] {
        const DeviceRows x1(x), h1(1, d);
        const DeviceArray<std::byte> rounded(Ops::OneToken::rounded_bytes(d));
        gpu::norm_one(on_gpu(), {x1.view(), added, last}, w.view().data, kEps, h1.view(), rounded);
        CHECK(h1.download().same_bits(h));
        CHECK(x1.download().same_bits(x0.download()));
        CHECK(rounded_values(rounded.download(), d) == rounded_to_groups(h[0], d));
      });
    }
  }
}

TEST_CASE("cuda rms_norm: zeros stay zeros, and a row does not see its neighbours") {
  Rng rng(3);
  Rows x = Rows::random(rng, 3, 40);
  std::fill_n(x.view().row(1), 40, 0.0f);
  const Rows w = Rows::random(rng, 1, 40);
  const DeviceRows device_x(x), device_w(w), y(3, 40), alone(1, 40);
  gpu::rms_norm(on_gpu(), device_x.read_only(), device_w.view().data, kEps, y.view());
  gpu::rms_norm(on_gpu(), device_x.read_only().slice(2, 1), device_w.view().data, kEps, alone.view());
  const Rows found = y.download();
  for (int64_t i = 0; i < 40; ++i) CHECK(found[1][i] == 0.0f);
  const Rows last = alone.download();
  CHECK(std::equal(last[0], last[0] + 40, found[2]));
}

TEST_CASE("cuda rms_norm: large values do not overflow the sum before float32 does") {
  Rng rng(4);
  Rows x = Rows::random(rng, 1, 256);
  for (int64_t i = 0; i < 256; ++i) x.view().data[i] *= 1e15f;
  const Rows w = Rows::random(rng, 1, 256);
  const DeviceRows device_x(x), device_w(w), y(1, 256);
  gpu::rms_norm(on_gpu(), device_x.read_only(), device_w.view().data, kEps, y.view());
  check_norm(x, w, y.download());
}

TEST_CASE("cuda add: the residual sum, and no tokens at all") {
  for (const Shape2 s : kShapes) {
    CAPTURE(s.T);
    CAPTURE(s.d);
    Rng rng(5);
    const Rows x = Rows::random(rng, s.T, s.d), y = Rows::random(rng, s.T, s.d);
    const DeviceRows device_x(x), device_y(y, 0, 4);
    gpu::add(on_gpu(), device_y.read_only(), device_x.view());
    CHECK(device_x.download().same_bits(sum_of(x, y)));
    gpu::add(on_gpu(), device_y.read_only().slice(0, 0), device_x.view().slice(0, 0));
    gpu::rms_norm(on_gpu(), device_y.read_only().slice(0, 0), nullptr, kEps, device_x.view().slice(0, 0));
    CHECK(device_x.download().same_bits(sum_of(x, y)));
  }
}
