// Products of 2 to 64 tokens on the (emulated) GPU: every format and operation, awkward shapes, against sums in double
// of the same values as they are rounded, and of those before.
#include "kernels/cuda/matmul/matmul_few.h"

#include <cstring>
#include <functional>

#include "kernels/cuda/matmul/few_product.h"
#include "tests/kernels/cuda/rows.h"
#include "tests/kernels/cuda/tile_fixture.h"
#include "tests/kernels/limits.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Of the sum of |w x|. Float32 sums in an order of the hardware's.
constexpr double kTolerance = 4e-6;
// And what rounding loses of a token, twice 8 bits later.
constexpr double kRounding = 0x1p-16 + kTolerance;
constexpr double kTiny = 1e-30;  // random bytes hold weights whose products are subnormal

// Activations as they are multiplied.
std::vector<float> in_halves(const float* x, int64_t n) {
  return as_multiplied(x, n, FormatId::bf16, gpu::TileShape::small, false);
}

// y against matrix `h` of w times x.
template <class Row>
void check_products(const TestWeight& w, int64_t h, int64_t T, Row x, Row y) {
  Worst rounded, exact;
  for (int64_t t = 0; t < T; ++t) {
    const std::vector<float> row = in_halves(x(t), w.view.k);
    for (int64_t i = 0; i < w.view.n; ++i) {
      const Sum sum = dot(w.row(h, i), row.data(), w.view.k), plain = dot(w.row(h, i), x(t), w.view.k);
      rounded.see(y(t)[i], sum.value, sum.magnitude + kTiny);
      exact.see(y(t)[i], plain.value, plain.magnitude + kTiny);
    }
  }
  CHECK(rounded.error <= kTolerance);
  CHECK(exact.error <= kRounding);
}

using RowOf = std::function<const float*(int64_t)>;

Rows multiply(const TestWeight& w, const Rows& x, int64_t T) {
  const TileRows dx(x), dy(T, w.view.n);
  const TileWeight dw(w);
  ScratchLimits limits;
  limits.max_tokens = T;
  limits.max_width = w.view.k;
  const DeviceScratch scratch(gpu::matmul_few_scratch(limits));
  gpu::matmul_few(scratch.exec(), dw.view, dx.view(), dy.view());
  return dy.download();
}

void check_matmul(const TestWeight& w, int64_t T, Rng& rng) {
  const Rows x = Rows::random(rng, T, w.view.k);
  const Rows y = multiply(w, x, T);
  check_products<RowOf>(
      w, 0, T, [&](int64_t t) { return x[t]; }, [&](int64_t t) { return y[t]; });
}

struct TestFfn {
  TestWeight gate, up, down;
  TileWeight d_gate, d_up, d_down;

  static TestWeight random(Rng& rng, FormatId id, int64_t count, int64_t n, int64_t k) {
    return TestWeight::gaussian(rng, format_of(id), count, n, k, 1.0f / std::sqrt(float(k)));
  }
  TestFfn(Rng& rng, const std::array<FormatId, 3>& f, int64_t count, int64_t d, int64_t n)
      : gate(random(rng, f[0], count, n, d)),
        up(random(rng, f[1], count, n, d)),
        down(random(rng, f[2], count, d, n)),
        d_gate(gate),
        d_up(up),
        d_down(down) {}
  FfnWeights view() const { return {d_gate.view, d_up.view, d_down.view}; }

  // y += weight * ffn(x) of expert e in double, of inputs as the kernels round them, or as given.
  void add(int64_t e, double weight, const float* x, std::vector<double>& y, bool rounded) const {
    const auto input = [&](const float* v, int64_t n) {
      return rounded ? in_halves(v, n) : std::vector<float>(v, v + n);
    };
    const std::vector<float> in = input(x, gate.view.k);
    std::vector<float> h(gate.view.n);
    for (int64_t i = 0; i < gate.view.n; ++i) {
      const double g = dot(gate.row(e, i), in.data(), gate.view.k).value;
      h[i] = float(g / (1 + std::exp(-g)) * dot(up.row(e, i), in.data(), up.view.k).value);
    }
    h = input(h.data(), down.view.k);
    for (int64_t i = 0; i < down.view.n; ++i) y[i] += weight * dot(down.row(e, i), h.data(), down.view.k).value;
  }
};

// Outputs are of the order of one. A hidden value that falls between two as they are stored may take either.
constexpr double kFfnTolerance = 3e-5, kFfnRounding = 5e-5;

constexpr FormatId f16 = FormatId::f16, bf16 = FormatId::bf16, q8_0 = FormatId::q8_0, q4_k = FormatId::q4_k,
                   q6_k = FormatId::q6_k, i4 = FormatId::i4_g128, f8 = FormatId::f8_e4m3, q5_0 = FormatId::q5_0;
constexpr std::array<FormatId, 3> kMixtures[] = {{q4_k, q4_k, q6_k}, {q4_k, q4_k, q5_0}, {bf16, bf16, f16},
                                                 {i4, i4, q8_0},     {q4_k, q6_k, bf16}, {f8, bf16, q8_0}};

void capture_names(const std::array<FormatId, 3>& f, std::string& names) {
  for (const FormatId id : f) names += name_of(id) + " ";
}

bool in_blocks(const std::array<FormatId, 3>& f) {
  return format_of(f[0]).block_elems > 1 || format_of(f[1]).block_elems > 1;
}

void check_ffn(const std::array<FormatId, 3>& f, int64_t T) {
  std::string names;
  capture_names(f, names);
  CAPTURE(names);
  CAPTURE(T);
  Rng rng(1);
  const int64_t d = in_blocks(f) ? 512 : 37, n = format_of(f[2]).block_elems == 256 ? 256 : in_blocks(f) ? 96 : 29;
  const TestFfn w(rng, f, 1, d, n);
  const Rows x = Rows::random(rng, T, d);
  const TileRows dx(x), dy(T, d);
  const DeviceScratch scratch(gpu::matmul_few_scratch(ffn_limits(T, d, n, 0, 0, 0)));
  gpu::ffn_few(scratch.exec(), w.view(), dx.view(), dy.view());
  const Rows y = dy.download();
  Worst rounded, exact;
  for (int64_t t = 0; t < T; ++t) {
    std::vector<double> of_rounded(d), of_exact(d);
    w.add(0, 1, x[t], of_rounded, true);
    w.add(0, 1, x[t], of_exact, false);
    for (int64_t i = 0; i < d; ++i) {
      rounded.see(y[t][i], of_rounded[i], 1);
      exact.see(y[t][i], of_exact[i], 1);
    }
  }
  CHECK(rounded.error <= kFfnTolerance);
  CHECK(exact.error <= kFfnRounding);
}

// slots: which matrix an expert is, negative: left out; empty: its own number.
Rows check_moe(const std::array<FormatId, 3>& f, int64_t T, int64_t E, bool with_shared,
               const std::vector<int32_t>& slots = {}) {
  std::string names;
  capture_names(f, names);
  CAPTURE(names);
  CAPTURE(T);
  CAPTURE(E);
  CAPTURE(with_shared);
  Rng rng(2);
  const int64_t K = 3, d = in_blocks(f) ? 256 : 37, shared_n = 64;
  const int64_t n = format_of(f[2]).block_elems == 256 ? 256 : in_blocks(f) ? 32 : 21;
  const int64_t n_matrices = slots.empty() ? E : 1 + *std::ranges::max_element(slots);
  const TestFfn experts(rng, f, n_matrices, d, n), shared(rng, {bf16, bf16, f16}, 1, d, shared_n);
  const DeviceArray<int32_t> dslots(slots);
  FfnWeights view = experts.view();
  view.slots = slots.empty() ? nullptr : dslots.data();
  view.n_slots = E;
  const Assignment to(rng, T, E, K);
  const Rows x = Rows::random(rng, T, d);
  const TileRows dx(x), dy(T, d);
  const DeviceArray<int32_t> ids(to.ids);
  const DeviceArray<float> weights(to.weights);
  const DeviceScratch scratch(gpu::matmul_few_scratch(ffn_limits(T, d, n, shared_n, E, K)));
  gpu::moe_few(scratch.exec(), view, with_shared ? shared.view() : FfnWeights{}, ids, weights, K, dx.view(), dy.view());
  const Rows y = dy.download();
  Worst rounded, exact;
  for (int64_t t = 0; t < T; ++t) {
    for (const bool as_rounded : {true, false}) {
      std::vector<double> expected(d);
      if (with_shared) shared.add(0, 1, x[t], expected, as_rounded);
      for (int64_t k = 0; k < K; ++k) {
        const int32_t id = to.ids[t * K + k], e = slots.empty() ? id : slots[id];
        if (e >= 0) experts.add(e, to.weights[t * K + k], x[t], expected, as_rounded);
      }
      for (int64_t i = 0; i < d; ++i) (as_rounded ? rounded : exact).see(y[t][i], expected[i], 1);
    }
  }
  CHECK(rounded.error <= 3 * kFfnTolerance);
  CHECK(exact.error <= 4 * kFfnRounding);
  return y;
}

}  // namespace

TEST_CASE("few: every format, awkward shapes") {
  for (const Format& format : all_formats()) {
    if (format.id == FormatId::f32) continue;
    Rng rng(uint32_t(format.id) * 7919 + 1);
    const int64_t one = format.block_elems == 1 ? 37 : format.block_elems, many = format.fits(1408) ? 1408 : 1280;
    const struct {
      int64_t T, n, k;
    } cases[] = {{2, 3, one},   {3, 33, 512},  {7, 17, many}, {8, 40, 256}, {9, 65, one},
                 {16, 31, 768}, {17, 1, many}, {33, 16, 256}, {64, 35, 512}};
    for (const auto& c : cases) {
      CAPTURE(name_of(format.id));
      CAPTURE(c.T);
      CAPTURE(c.n);
      CAPTURE(c.k);
      check_matmul(TestWeight::random_bytes(rng, format, 1, c.n, c.k), c.T, rng);
    }
    CAPTURE(name_of(format.id));
    check_matmul(TestWeight::extreme(rng, format, 5, 256), 9, rng);
  }
}

TEST_CASE("few: plain floats in rows of any length") {
  Rng rng(2);
  for (const FormatId id : {f16, bf16}) {
    for (const int64_t k : {1, 7, 8, 31, 63, 65, 129, 300}) {
      CAPTURE(name_of(id));
      CAPTURE(k);
      check_matmul(TestWeight::random_bytes(rng, format_of(id), 1, 5, k), 10, rng);
    }
  }
}

TEST_CASE("few: a token's bits do not depend on the others") {
  for (const FormatId id : {q4_k, q6_k, f8, bf16}) {
    CAPTURE(name_of(id));
    Rng rng(3);
    const TestWeight w = TestWeight::random_bytes(rng, format_of(id), 1, 40, 768);
    const Rows x = Rows::random(rng, 40, 768);
    const Rows all = multiply(w, x, 40);
    for (const int64_t T : {2, 9}) {
      Rows some(T, 768);
      for (int64_t t = 0; t < T; ++t) std::copy_n(x[t], 768, some.view().row(t));
      const Rows y = multiply(w, some, T);
      for (int64_t t = 0; t < T; ++t) CHECK(std::memcmp(y[t], all[t], 40 * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("few: NaN in a token or a weight stays in its outputs") {
  const auto multiply = [](const TestWeight& w, const Rows& x, int64_t T) {
    const DeviceRows dx(x), dy(T, w.view.n);
    const TileWeight dw(w);
    const DeviceScratch scratch(gpu::matmul_few_scratch({.max_tokens = T, .max_width = w.view.k}));
    gpu::matmul_few(scratch.exec(), dw.view, dx.view(), dy.view());
    return dy.download();
  };
  Rng rng(4);
  for (const FormatId id : {q4_k, f8, bf16}) {
    CAPTURE(name_of(id));
    const TestWeight w = TestWeight::gaussian(rng, format_of(id), 1, 20, 256, 1.0f);
    Rows x = Rows::random(rng, 5, 256);
    x.view().row(3)[77] = std::numeric_limits<float>::quiet_NaN();
    const Rows y = multiply(w, x, 5);
    for (int64_t t = 0; t < 5; ++t) {
      for (int64_t i = 0; i < 20; ++i) CHECK(std::isnan(y[t][i]) == (t == 3));
    }
  }
  TestWeight w = TestWeight::gaussian(rng, format_of(f8), 1, 20, 256, 1.0f);
  w.bytes[size_t(13) * w.view.row_bytes + 150] = std::byte{0xff};  // a number of row 13
  const Rows y = multiply(w, Rows::random(rng, 5, 256), 5);
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t i = 0; i < 20; ++i) CHECK(std::isnan(y[t][i]) == (i == 13));
  }
}

TEST_CASE("matmul_pair_few: two matrices of the same activations, in one order or in two") {
  for (const FormatId second : {q6_k, bf16}) {
    CAPTURE(name_of(second));
    Rng rng(5);
    const int64_t T = 5, k = 256;
    const TestWeight a = TestWeight::random_bytes(rng, format_of(q4_k), 1, 21, k),
                     b = TestWeight::random_bytes(rng, format_of(second), 1, 40, k);
    const Rows x = Rows::random(rng, T, k);
    const TileRows dx(x), dy_a(T, a.view.n), dy_b(T, b.view.n);
    const TileWeight da(a), db(b);
    const DeviceScratch scratch(gpu::matmul_few_scratch({.max_tokens = T, .max_width = k}));
    gpu::matmul_pair_few(scratch.exec(), da.view, db.view, dx.view(), dy_a.view(), dy_b.view());
    CHECK(dy_a.download().same_bits(multiply(a, x, T)));
    CHECK(dy_b.download().same_bits(multiply(b, x, T)));
  }
}

TEST_CASE("matmul_heads_few: a matrix for each head") {
  for (const FormatId id : {q8_0, f16}) {
    for (const int64_t T : {2, 9, 33}) {
      CAPTURE(name_of(id));
      CAPTURE(T);
      Rng rng(6);
      const int64_t H = 3, n = 19, k = 64;
      const TestWeight w = TestWeight::random_bytes(rng, format_of(id), H, n, k);
      const Rows x = Rows::random(rng, T, H * k);
      const TileRows dx(x), dy(T, H * n);
      const TileWeight dw(w);
      ScratchLimits limits;
      limits.max_tokens = T;
      limits.n_heads = H;
      limits.kv_lora_rank = k;
      const DeviceScratch scratch(gpu::matmul_few_scratch(limits));
      gpu::matmul_heads_few(scratch.exec(), dw.view, dx.heads(H, k), dy.heads(H, n));
      const Rows y = dy.download();
      for (int64_t h = 0; h < H; ++h) {
        check_products<RowOf>(
            w, h, T, [&](int64_t t) { return x[t] + h * k; }, [&](int64_t t) { return y[t] + h * n; });
      }
    }
  }
}

TEST_CASE("ffn_few: the formula") {
  for (const auto& f : kMixtures) {
    for (const int64_t T : {2, 9, 33}) check_ffn(f, T);
  }
}

TEST_CASE("moe_few: the weighted sum of the chosen experts, with and without shared ones") {
  for (const auto& f : kMixtures) {
    for (const bool with_shared : {true, false}) check_moe(f, 11, 9, with_shared);
  }
  check_moe({q4_k, q4_k, q8_0}, 2, 9, true);
  check_moe({q4_k, q4_k, q8_0}, 64, 8, true);   // up to 64 tokens of an expert at once
  check_moe({q4_k, q4_k, q8_0}, 40, 40, true);  // tiles of 16, three of expert 2
}

TEST_CASE("moe_few: experts that have no slot are left out") {
  check_moe({q4_k, q4_k, q8_0}, 17, 9, true, {2, -1, 5, -1, 0, 3, -1, 4, -1});
  check_moe({bf16, bf16, bf16}, 9, 5, false, {0, -1, -1, -1, -1});  // 0 is nobody's
}

TEST_CASE("few: under every schedule, the same bits") {
  for (const FormatId id : {q4_k, q6_k, q8_0, bf16, f8, i4, FormatId::iq2_xxs, FormatId::iq4_ks}) {
    CAPTURE(name_of(id));
    std::vector<Rows> first;
    under_every_schedule([&] {
      Rng rng(7);
      const TestWeight w = TestWeight::random_bytes(rng, format_of(id), 1, 40, 768);
      const Rows y = multiply(w, Rows::random(rng, 12, 768), 12);
      if (first.empty()) first.push_back(y);
      CHECK(y.same_bits(first[0]));
    });
  }
  std::vector<Rows> first;
  under_every_schedule([&] {
    const Rows y = check_moe({q4_k, q4_k, q8_0}, 20, 7, true);
    if (first.empty()) first.push_back(y);
    CHECK(y.same_bits(first[0]));
  });
}
