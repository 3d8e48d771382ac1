// The products for one token, every format and operation, against sums in double: once of exactly the activations that
// the kernels multiply, so that only float rounding is left, and once of the activations as given.
#include "kernels/cuda/matmul/matmul_vec.h"

#include <functional>

#include "kernels/cuda/norm.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/fixture.h"
#include "tests/support/device_memory.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr double kTiny = 1e-30;

bool integer_products(const Weight& w) {
  return w.format->block_elems > 1 && w.format->id != FormatId::f8_e4m3;
}

// Activations as the kernels store them for w: 16 bits and a scale for every 16, or as they are.
std::vector<float> as_multiplied(const Weight& w, const float* x) {
  std::vector<float> out(x, x + w.k);
  if (!integer_products(w)) return out;
  for (int64_t at = 0; at < w.k; at += 16) {
    float largest = 0;
    for (int64_t i = at; i < at + 16; ++i) largest = std::max(largest, std::abs(x[i]));
    const float inverse = largest > 0 ? 32639 / largest : 0.0f;  // 127 * 256 + 127: two bytes, each at most 127
    for (int64_t i = at; i < at + 16; ++i) out[i] = std::nearbyint(x[i] * inverse) * (largest / 32639);
  }
  return out;
}

struct DeviceWeight {
  explicit DeviceWeight(const TestWeight& w) : memory(w.bytes), view(w.view) { view.data = memory; }
  DeviceArray<std::byte> memory;
  Weight view;
};

// Rows on the device, NaNs around and between them: stride and start as odd as the tests' own.
struct DeviceRows {
  DeviceRows(int64_t rows, int64_t cols, int64_t stride, int64_t start)
      : rows(rows), cols(cols), stride(stride), start(start), memory(size_t(start + rows * stride)) {}
  explicit DeviceRows(const Rows& x) : DeviceRows(x.view().rows, x.view().cols, x.view().stride, 3) {
    std::vector<float> all(memory.size(), std::numeric_limits<float>::quiet_NaN());
    for (int64_t t = 0; t < rows; ++t) std::copy_n(x[t], cols, all.data() + start + t * stride);
    memory.upload(all);
  }
  Mat<float> view() const { return {memory.data() + start, rows, cols, stride}; }
  // The values; what lies between the rows must still be NaN.
  std::vector<std::vector<float>> download() const {
    const std::vector<float> all = memory.download();
    std::vector<std::vector<float>> out(rows, std::vector<float>(cols));
    for (int64_t i = 0; i < int64_t(all.size()); ++i) {
      const int64_t at = i - start;
      if (at >= 0 && at % stride < cols) {
        out[at / stride][at % stride] = all[i];
      } else {
        REQUIRE(std::isnan(all[i]));
      }
    }
    return out;
  }
  int64_t rows, cols, stride, start;
  DeviceArray<float> memory;
};

struct Scratch {
  explicit Scratch(const ScratchLimits& limits) : memory(gpu::matmul_vec_scratch(limits)) {}
  Exec exec() const { return on_gpu(memory); }
  DeviceArray<std::byte> memory;
};

ScratchLimits limits_for(const Weight& w) {
  ScratchLimits l;
  l.max_tokens = 1;
  l.max_width = std::max(w.n, w.k);
  return l;
}

void check_matmul(const TestWeight& w, Rng& rng, double tolerance = 1e-6) {
  const Rows x = Rows::random(rng, 1, w.view.k);
  const DeviceWeight dw(w);
  const DeviceRows dx(x), dy(1, w.view.n, w.view.n + 5, 1);
  const Scratch scratch(limits_for(w.view));
  gpu::matmul_vec(scratch.exec(), dw.view, dx.view(), dy.view());
  const auto y = dy.download();
  Worst rounded, given;
  const std::vector<float> row = as_multiplied(w.view, x[0]);
  for (int64_t i = 0; i < w.view.n; ++i) {
    const Sum sum = dot(w.row(0, i), row.data(), w.view.k), exact = dot(w.row(0, i), x[0], w.view.k);
    rounded.see(y[0][i], sum.value, sum.magnitude + kTiny);
    given.see(y[0][i], exact.value, exact.magnitude + kTiny);
  }
  CHECK(rounded.error <= tolerance);
  CHECK(given.error <= (integer_products(w.view) ? 4e-5 : tolerance));
}

double silu(double x) {
  return x / (1 + std::exp(-x));
}

// down(silu(gate x) * up x) of matrix e, as the kernels round.
std::vector<Sum> gated_ffn(const TestWeight& gate, const TestWeight& up, const TestWeight& down, int64_t e,
                           const float* x) {
  std::vector<float> hidden(gate.view.n);
  const std::vector<float> xg = as_multiplied(gate.view, x), xu = as_multiplied(up.view, x);
  for (int64_t i = 0; i < gate.view.n; ++i) {
    hidden[i] =
        float(silu(dot(gate.row(e, i), xg.data(), gate.view.k).value) * dot(up.row(e, i), xu.data(), up.view.k).value);
  }
  const std::vector<float> h = as_multiplied(down.view, hidden.data());
  std::vector<Sum> y(down.view.n);
  for (int64_t i = 0; i < down.view.n; ++i) y[i] = dot(down.row(e, i), h.data(), down.view.k);
  return y;
}

struct TestFfn {
  TestWeight gate, up, down;
  TestFfn(Rng& rng, FormatId g, FormatId u, FormatId d, int64_t count, int64_t dim, int64_t inter)
      : gate(TestWeight::gaussian(rng, format_of(g), count, inter, dim, 1.5f / std::sqrt(float(dim)))),
        up(TestWeight::gaussian(rng, format_of(u), count, inter, dim, 1.5f / std::sqrt(float(dim)))),
        down(TestWeight::gaussian(rng, format_of(d), count, dim, inter, 1.0f)) {}
};

struct DeviceFfn {
  DeviceWeight gate, up, down;
  explicit DeviceFfn(const TestFfn& w) : gate(w.gate), up(w.up), down(w.down) {}
  FfnWeights view() const { return {gate.view, up.view, down.view}; }
};

// Rounding turns the last places of a hidden value into a step of 1/32639 now and then.
double ffn_tolerance(const TestFfn& w) {
  return integer_products(w.down.view) ? 1e-5 : 4e-6;
}

struct Experts {
  int64_t count, activated;
  std::vector<int32_t> ids;         // [K]
  std::vector<int32_t> slots = {};  // [count] which matrix an expert is, negative: left out; empty: its own number
};

void check_moe(Rng& rng, const TestFfn& experts, const TestFfn* shared, const Experts& chosen) {
  const int64_t dim = experts.gate.view.k, K = chosen.activated;
  const Rows x = Rows::random(rng, 1, dim);
  std::vector<float> weights(K);
  for (float& w : weights) w = 0.1f + std::abs(normal(rng));
  const DeviceFfn de(experts);
  std::vector<DeviceFfn> ds;
  if (shared) ds.emplace_back(*shared);
  FfnWeights view = de.view();
  const DeviceArray<int32_t> slots(chosen.slots);
  if (!chosen.slots.empty()) {
    view.slots = slots;
    view.n_slots = chosen.count;
  }
  const DeviceRows dx(x);
  const DeviceArray<int32_t> ids(chosen.ids);
  const DeviceArray<float> dweights(weights);
  ScratchLimits l;
  l.max_tokens = 1;
  l.max_width = dim;
  l.moe_inter_dim = experts.gate.view.n;
  l.shared_inter_dim = shared ? shared->gate.view.n : 0;
  l.n_activated = K;
  const Scratch scratch(l);
  const DeviceRows dy(1, dim, dim + 2, 1);
  gpu::moe_vec(scratch.exec(), view, shared ? ds[0].view() : FfnWeights{}, ids, dweights, K, dx.view(), dy.view());
  const auto y = dy.download();
  std::vector<Sum> sums(dim);
  if (shared) sums = gated_ffn(shared->gate, shared->up, shared->down, 0, x[0]);
  for (int64_t j = 0; j < K; ++j) {
    const int32_t id = chosen.ids[j], e = chosen.slots.empty() ? id : chosen.slots[id];
    if (e < 0) continue;
    const auto part = gated_ffn(experts.gate, experts.up, experts.down, e, x[0]);
    for (int64_t i = 0; i < dim; ++i) {
      sums[i].value += weights[j] * part[i].value;
      sums[i].magnitude += weights[j] * part[i].magnitude;
    }
  }
  Worst worst;
  for (int64_t i = 0; i < dim; ++i) worst.see(y[0][i], sums[i].value, sums[i].magnitude + kTiny);
  double tolerance = ffn_tolerance(experts);
  if (shared) tolerance = std::max(tolerance, ffn_tolerance(*shared));
  CHECK(worst.error <= tolerance);
}

// A row as a norm leaves it, and operations with it as floats alone and with its integers beside them: the same bits.
void check_rounded(int64_t d, const std::function<std::vector<float>(const Exec& exec, Mat<const float> h)>& run,
                   const Scratch& scratch) {
  Rng rng(uint32_t(d) + 3);
  const DeviceRows x(Rows::random(rng, 1, d)), norm(Rows::random(rng, 1, d)), h(1, d, d, 0);
  const DeviceArray<std::byte> rounded(Ops::OneToken::rounded_bytes(d));
  gpu::norm_one(on_gpu(), {x.view(), {}, {}}, norm.view().data, 1e-6f, h.view(), rounded);
  Exec exec = scratch.exec();
  const std::vector<float> expected = run(exec, h.view());
  exec.rounded = rounded;
  under_every_schedule([&] { CHECK(run(exec, h.view()) == expected); });
}

}  // namespace

TEST_CASE("matmul_vec: every format, awkward shapes") {
  for (const Format& format : all_formats()) {
    Rng rng(uint32_t(format.id) * 7919 + 1);
    const int64_t block = format.block_elems;
    for (const int64_t k : {block, 3 * block, int64_t(1408), int64_t(block == 1 ? 37 : 2048)}) {
      if (!format.fits(k)) continue;
      for (const int64_t n : {1, 3, 17}) {
        const TestWeight w = TestWeight::random_bytes(rng, format, 1, n, k);
        CAPTURE(name_of(format.id));
        CAPTURE(n);
        CAPTURE(k);
        check_matmul(w, rng, 2e-6);
      }
    }
  }
}

TEST_CASE("matmul_vec, ffn_vec, moe_vec: of a row that is rounded already the same bits") {
  for (const Format& format : all_formats()) {
    CAPTURE(name_of(format.id));
    Rng rng(uint32_t(format.id) + 21);
    for (const int64_t k : {int64_t(512), format.fits(1408) ? int64_t(1408) : int64_t(1536)}) {
      const TestWeight w = TestWeight::gaussian(rng, format, 1, 33, k, 1.0f);
      const DeviceWeight dw(w);
      const auto run = [&](const Exec& exec, Mat<const float> h) {
        const DeviceRows y(1, 33, 33, 0);
        gpu::matmul_vec(exec, dw.view, h, y.view());
        return y.download()[0];
      };
      check_rounded(k, run, Scratch(limits_for(w.view)));
    }
  }
  Rng rng(8);
  const int64_t dim = 512, inter = 256;
  const DeviceArray<int32_t> ids(std::vector<int32_t>{2, 0});
  const DeviceArray<float> weights(std::vector<float>{0.7f, 0.2f});
  ScratchLimits l;
  l.max_tokens = 1;
  l.max_width = dim;
  l.inter_dim = l.moe_inter_dim = l.shared_inter_dim = inter;
  l.n_activated = 2;
  const Scratch scratch(l);
  using enum FormatId;
  for (const auto& [first, second] : {std::pair{q4_k, q5_k}, {q4_k, bf16}, {iq3_s, q8_0}, {q6_k, f8_e4m3}}) {
    const TestFfn experts(rng, first, first, q8_0, 3, dim, inter), dense(rng, first, second, q6_k, 1, dim, inter),
        shared(rng, second, second, q6_k, 1, dim, inter);
    const DeviceFfn of_experts(experts), of_dense(dense), of_shared(shared);
    const auto row = [&](const auto& operation) {
      const DeviceRows y(1, dim, dim, 0);
      operation(y.view());
      return y.download()[0];
    };
    check_rounded(
        dim,
        [&](const Exec& exec, Mat<const float> h) {
          return row([&](Mat<float> y) { gpu::ffn_vec(exec, of_dense.view(), h, y); });
        },
        scratch);
    check_rounded(
        dim,
        [&](const Exec& exec, Mat<const float> h) {
          return row(
              [&](Mat<float> y) { gpu::moe_vec(exec, of_experts.view(), of_shared.view(), ids, weights, 2, h, y); });
        },
        scratch);
  }
}

TEST_CASE("matmul_vec: every schedule") {
  for (const Format& format : all_formats()) {
    CAPTURE(name_of(format.id));
    const int64_t k = format.fits(1408) ? 1408 : 1536;
    Rng rng(uint32_t(format.id) + 5);
    const TestWeight w = TestWeight::random_bytes(rng, format, 1, 6, k);
    under_every_schedule([&] { check_matmul(w, rng, 2e-6); });
  }
}

// Enough rows that none are split, and activations that the blocks do not prepare themselves.
TEST_CASE("matmul_vec: many rows, long rows") {
  Rng rng(3);
  check_matmul(TestWeight::random_bytes(rng, format_of(FormatId::q4_k), 1, 8210, 256), rng);
  check_matmul(TestWeight::random_bytes(rng, format_of(FormatId::q8_0), 1, 5, 12 * 1024 + 32), rng, 2e-6);
  check_matmul(TestWeight::random_bytes(rng, format_of(FormatId::bf16), 1, 5, 4611), rng);
}

// Activations of one size with the weights' signs, or against them.
TEST_CASE("matmul_vec: the largest sums of every format") {
  for (const Format& format : all_formats()) {
    CAPTURE(name_of(format.id));
    Rng rng(uint32_t(format.id) + 11);
    const int64_t n = 8, k = 512;
    const TestWeight w = TestWeight::extreme(rng, format, n, k);
    Rows x(n, k);
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t i = 0; i < k; ++i) x.view().row(t)[i] = (w.row(0, t)[i] < 0) == (t % 2 == 0) ? -1.0f : 1.0f;
    }
    const DeviceWeight dw(w);
    const DeviceRows dx(x), dy(n, n, n, 0);
    const Scratch scratch(limits_for(w.view));
    for (int64_t t = 0; t < n; ++t) {
      gpu::matmul_vec(scratch.exec(), dw.view, dx.view().slice(t, 1), dy.view().slice(t, 1));
    }
    const auto y = dy.download();
    Worst worst;
    for (int64_t t = 0; t < n; ++t) {
      const std::vector<float> row = as_multiplied(w.view, x[t]);
      for (int64_t i = 0; i < n; ++i) {
        const Sum sum = dot(w.row(0, i), row.data(), k);
        worst.see(y[t][i], sum.value, sum.magnitude + kTiny);
      }
    }
    CHECK(worst.error <= 2e-6);
  }
}

// What is not a number stays none: in an activation for all outputs of its token, in a weight for its row.
TEST_CASE("matmul_vec: NaN") {
  for (const Format& format : all_formats()) {
    CAPTURE(name_of(format.id));
    Rng rng(uint32_t(format.id) + 13);
    const int64_t n = 5, k = 512, T = 3;
    const TestWeight w = TestWeight::random_bytes(rng, format, 1, n, k);
    Rows x = Rows::random(rng, T, k);
    x.view().row(1)[77] = std::numeric_limits<float>::quiet_NaN();
    const DeviceWeight dw(w);
    const DeviceRows dx(x), dy(T, n, n, 0);
    const Scratch scratch(limits_for(w.view));
    for (int64_t t = 0; t < T; ++t) {
      gpu::matmul_vec(scratch.exec(), dw.view, dx.view().slice(t, 1), dy.view().slice(t, 1));
    }
    const auto y = dy.download();
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t i = 0; i < n; ++i) CHECK(std::isnan(y[t][i]) == (t == 1));
    }
  }
}

TEST_CASE("matmul_vec: every code of F8_E4M3") {
  const Format& format = format_of(FormatId::f8_e4m3);
  const int64_t n = 4, k = 256;
  std::vector<std::byte> bytes(format.bytes(k) * n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t b = 0; b < 2; ++b) {
      std::byte* block = bytes.data() + format.bytes(k) * i + format.block_bytes * b;
      const float d = i == 1 ? 0x1p-130f : i == 2 ? 0x1p80f : 0.37f;
      std::memcpy(block, &d, 4);
      for (int64_t j = 0; j < 128; ++j) {
        int64_t code = b * 128 + j;
        if (code % 128 == 127 && i != 3) code = 0x7e;
        block[4 + j] = std::byte(code);
      }
    }
  }
  const TestWeight w = TestWeight::of_bytes(format, n, k, bytes);
  Rng rng(6);
  Rows x = Rows::random(rng, 1, k);
  const DeviceWeight dw(w);
  const DeviceRows dx(x), dy(1, n, n, 0);
  const Scratch scratch(limits_for(w.view));
  gpu::matmul_vec(scratch.exec(), dw.view, dx.view(), dy.view());
  const auto y = dy.download();
  for (int64_t i = 0; i < 3; ++i) {
    const Sum sum = dot(w.row(0, i), x[0], k);
    CHECK(std::abs(y[0][i] - sum.value) <= 1e-6 * sum.magnitude);
  }
  CHECK(std::isnan(y[0][3]));
}

TEST_CASE("matmul_heads_vec: parts of wider rows") {
  for (const FormatId id : {FormatId::q8_0, FormatId::q5_0, FormatId::bf16, FormatId::f8_e4m3, FormatId::i4_g128}) {
    CAPTURE(name_of(id));
    Rng rng(uint32_t(id) + 17);
    const int64_t H = 3, n = 35, k = 128;
    const TestWeight w = TestWeight::random_bytes(rng, format_of(id), H, n, k);
    const DeviceWeight dw(w);
    const Rows x = Rows::random(rng, 1, H * (k + 64));
    const DeviceRows dx(x), dy(1, H * n, H * n + 1, 2);
    ScratchLimits l = limits_for(w.view);
    l.n_heads = H;
    l.qk_nope_head_dim = k;
    const Scratch scratch(l);
    const Mat<float> xm = dx.view(), ym = dy.view();
    gpu::matmul_heads_vec(scratch.exec(), dw.view, {xm.data + 7, 1, H, k, xm.stride, k + 64},
                          {ym.data, 1, H, n, ym.stride, n});
    const auto y = dy.download();
    Worst worst;
    for (int64_t h = 0; h < H; ++h) {
      const std::vector<float> row = as_multiplied(w.view, x[0] + 7 + h * (k + 64));
      for (int64_t i = 0; i < n; ++i) {
        const Sum sum = dot(w.row(h, i), row.data(), k);
        worst.see(y[0][h * n + i], sum.value, sum.magnitude + kTiny);
      }
    }
    CHECK(worst.error <= 1e-6);
  }
}

TEST_CASE("ffn_vec: formats of one kind and mixed") {
  const struct {
    FormatId gate, up, down;
    int64_t dim, inter;
  } cases[] = {
      {FormatId::q4_k, FormatId::q4_k, FormatId::q5_0, 256, 160},
      {FormatId::q6_k, FormatId::q6_k, FormatId::q6_k, 256, 512},
      {FormatId::bf16, FormatId::bf16, FormatId::bf16, 50, 37},
      {FormatId::q8_0, FormatId::q4_0, FormatId::f32, 64, 45},
      {FormatId::f16, FormatId::q8_0, FormatId::q8_0, 64, 96},
      {FormatId::f8_e4m3, FormatId::f8_e4m3, FormatId::f8_e4m3, 128, 384},
      {FormatId::q4_0, FormatId::q4_0, FormatId::bf16, 64, 83},
      {FormatId::f32, FormatId::f32, FormatId::q4_1, 33, 64},
      // Several slices for a warp, one after the other, that end where no 16 bytes do.
      {FormatId::q4_0, FormatId::q4_0, FormatId::q6_k, 32, 1536},
  };
  Rng rng(21);
  for (const auto& c : cases) {
    CAPTURE(name_of(c.gate));
    CAPTURE(name_of(c.down));
    const TestFfn w(rng, c.gate, c.up, c.down, 1, c.dim, c.inter);
    const DeviceFfn dw(w);
    const Rows x = Rows::random(rng, 1, c.dim);
    const DeviceRows dx(x), dy(1, c.dim, c.dim, 0);
    ScratchLimits l;
    l.max_tokens = 1;
    l.max_width = c.dim;
    l.inter_dim = c.inter;
    const Scratch scratch(l);
    gpu::ffn_vec(scratch.exec(), dw.view(), dx.view(), dy.view());
    const auto y = dy.download();
    const auto sums = gated_ffn(w.gate, w.up, w.down, 0, x[0]);
    Worst worst;
    for (int64_t i = 0; i < c.dim; ++i) worst.see(y[0][i], sums[i].value, sums[i].magnitude + kTiny);
    CHECK(worst.error <= ffn_tolerance(w));
  }
}

TEST_CASE("moe_vec: with and without shared experts, of the same formats and others") {
  Rng rng(31);
  const TestFfn experts(rng, FormatId::q4_k, FormatId::q4_k, FormatId::q8_0, 5, 256, 96);
  const TestFfn same(rng, FormatId::q4_k, FormatId::q4_k, FormatId::q8_0, 1, 256, 192);
  const TestFfn other(rng, FormatId::q8_0, FormatId::q8_0, FormatId::q5_0, 1, 256, 64);
  const TestFfn half(rng, FormatId::q4_k, FormatId::q4_k, FormatId::bf16, 1, 256, 50);
  const TestFfn apart(rng, FormatId::iq3_s, FormatId::iq3_s, FormatId::q5_0, 1, 256, 64);
  const TestFfn two_passes(rng, FormatId::q4_k, FormatId::q5_k, FormatId::q5_0, 1, 256, 64);
  const Experts chosen{5, 3, {0, 3, 1}};
  check_moe(rng, experts, nullptr, chosen);
  for (const TestFfn* shared : {&same, &other, &half, &apart, &two_passes}) {
    CAPTURE(name_of(shared->gate.view.format->id));
    CAPTURE(name_of(shared->down.view.format->id));
    check_moe(rng, experts, shared, chosen);
  }
}

// Formats that have a kernel together, each with each: gate and up in one launch, down in the other.
TEST_CASE("moe_vec: formats side by side") {
  const FormatId mixed[] = {FormatId::q8_0,   FormatId::q4_0, FormatId::q5_0,  FormatId::q5_1,
                            FormatId::iq4_nl, FormatId::q2_k, FormatId::q3_k,  FormatId::q4_k,
                            FormatId::q5_k,   FormatId::q6_k, FormatId::iq4_xs};
  for (const FormatId a : mixed) {
    for (const FormatId b : mixed) {
      if (a == b) continue;
      REQUIRE(gpu::vec::in_one_launch(format_of(a), format_of(b)));
      CAPTURE(name_of(a));
      CAPTURE(name_of(b));
      Rng rng(uint32_t(a) * 64 + uint32_t(b));
      const TestFfn experts(rng, a, a, b, 3, 256, 256), shared(rng, b, b, a, 1, 256, 512);
      check_moe(rng, experts, &shared, {3, 2, {2, 0}});
    }
  }
}

TEST_CASE("moe_vec: tight sums, one expert, one twice") {
  Rng rng(32);
  const TestFfn experts(rng, FormatId::q6_k, FormatId::q6_k, FormatId::bf16, 4, 256, 44);
  const TestFfn shared(rng, FormatId::q6_k, FormatId::q6_k, FormatId::bf16, 1, 256, 88);
  check_moe(rng, experts, &shared, {4, 1, {2}});
  check_moe(rng, experts, &shared, {4, 2, {3, 3}});
  check_moe(rng, experts, &shared, {4, 4, {1, 0, 3, 2}});
  const TestFfn floats(rng, FormatId::f32, FormatId::f16, FormatId::f32, 3, 40, 21);
  check_moe(rng, floats, nullptr, {3, 2, {1, 0}});
}

TEST_CASE("moe_vec: experts that have no slot are left out") {
  Rng rng(33);
  const TestFfn experts(rng, FormatId::q4_k, FormatId::q4_k, FormatId::bf16, 4, 256, 96),
      shared(rng, FormatId::q4_k, FormatId::q4_k, FormatId::bf16, 1, 256, 64),
      other(rng, FormatId::q5_k, FormatId::q5_k, FormatId::bf16, 1, 256, 64),
      mixed(rng, FormatId::q4_k, FormatId::q6_k, FormatId::q8_0, 4, 256, 96);
  for (const std::vector<int32_t>& ids : {std::vector<int32_t>{0, 1, 3}, {4, 1, 2}, {4, 1, 4}}) {
    Experts chosen{6, 3, ids, {3, -1, 0, 2, -1, 1}};
    check_moe(rng, experts, &shared, chosen);
    check_moe(rng, experts, &other, chosen);
    check_moe(rng, experts, nullptr, chosen);
    check_moe(rng, mixed, nullptr, chosen);
  }
}

TEST_CASE("moe_vec: every schedule") {
  Rng rng(33);
  const TestFfn experts(rng, FormatId::q5_k, FormatId::q5_k, FormatId::iq4_nl, 4, 256, 64);
  const TestFfn same(rng, FormatId::q5_k, FormatId::q5_k, FormatId::iq4_nl, 1, 256, 64);
  const TestFfn other(rng, FormatId::q4_k, FormatId::q4_k, FormatId::q8_0, 1, 256, 64);
  under_every_schedule([&] {
    check_moe(rng, experts, &same, {4, 2, {2, 1}});
    check_moe(rng, experts, &other, {4, 2, {2, 1}});
  });
}
