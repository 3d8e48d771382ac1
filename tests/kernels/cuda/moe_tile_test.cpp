// ffn_tile and moe_tile on the (emulated) GPU: the formula in double of the same bf16 values; experts with no token,
// one, and all; any mixture of formats; slices of columns; the same bits under every schedule.
#include "kernels/cuda/matmul/moe_tile.h"

#include <optional>

#include "kernels/cuda/matmul/matmul_tile.h"
#include "kernels/cuda/matmul/tile_input.h"
#include "tests/kernels/cuda/tile_fixture.h"
#include "tests/kernels/limits.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct Formats {
  FormatId gate, up, down;
};

struct TestFfn {
  TestWeight gate, up, down;
  TileWeight d_gate, d_up, d_down;

  static TestWeight random(Rng& rng, FormatId id, int64_t count, int64_t n, int64_t k) {
    return TestWeight::gaussian(rng, format_of(id), count, n, k, 1.0f / std::sqrt(float(k)));
  }
  TestFfn(Rng& rng, const Formats& f, int64_t count, int64_t d, int64_t n)
      : gate(random(rng, f.gate, count, n, d)),
        up(random(rng, f.up, count, n, d)),
        down(random(rng, f.down, count, d, n)),
        d_gate(gate),
        d_up(up),
        d_down(down) {}
  FfnWeights view() const { return {d_gate.view, d_up.view, d_down.view}; }

  // y += weight * ffn(x) of expert e in double. Inputs of both halves as such tiles have them; none: exact.
  void add(int64_t e, double weight, const float* x, std::vector<double>& y, std::optional<TileKind> tile) const {
    const auto in_bytes = [&](const TestWeight& w) {
      if (&w == &down) return tile->in_bytes(down.view.format->id);
      return gpu::take_bytes(gate.view, up.view, tile->shape, tile->queue());
    };
    const auto how = [&](const TestWeight& w) {
      if (!tile) return Stored::exact;
      return tile_storage(w.view.format->id, {tile->shape, in_bytes(w)});
    };
    const auto input = [&](const TestWeight& w, const float* x) {
      if (!tile) return std::vector<float>(x, x + w.view.k);
      return as_multiplied(x, w.view.k, w.view.format->id, tile->shape, in_bytes(w));
    };
    const std::vector<float> for_gate = input(gate, x), for_up = input(up, x);
    std::vector<float> h(gate.view.n);
    for (int64_t i = 0; i < gate.view.n; ++i) {
      const double g = stored_dot(gate.row(e, i), for_gate, how(gate)).value;
      h[i] = float(g / (1 + std::exp(-g)) * stored_dot(up.row(e, i), for_up, how(up)).value);
    }
    h = input(down, h.data());
    for (int64_t i = 0; i < down.view.n; ++i) y[i] += weight * stored_dot(down.row(e, i), h, how(down)).value;
  }
};

// Outputs are of the order of one. A hidden value that falls between two as they are stored may take either.
double tolerance(const Formats& f, const TileKind& tile) {
  if (f.down == FormatId::f32) return 1e-5;
  return gpu::keeps_16_bits(tile.shape) ? 3e-5 : tile.in_bytes(f.down) ? 6e-5 : 2e-3;
}
// Against the formula of the values before rounding.
double rounding(const Formats& f, const TileKind& tile) {
  const bool in_bytes = tile.in_bytes(f.gate) && tile.in_bytes(f.up) && tile.in_bytes(f.down);
  return gpu::keeps_16_bits(tile.shape) ? 5e-5 : in_bytes ? 2e-4 : 3e-2;
}

constexpr FormatId f32 = FormatId::f32, f16 = FormatId::f16, bf16 = FormatId::bf16, q8_0 = FormatId::q8_0,
                   q4_k = FormatId::q4_k, q5_k = FormatId::q5_k, q6_k = FormatId::q6_k;
constexpr Formats kAlike[] = {
    {q4_k, q4_k, q8_0}, {bf16, bf16, f16}, {f32, f32, f32}, {bf16, bf16, f32}, {f32, f32, f16}};
constexpr Formats kMixed[] = {{q4_k, q6_k, q8_0}, {q5_k, f32, f32}, {f32, bf16, bf16}};

bool in_blocks(const Formats& f) {
  return format_of(f.gate).block_elems > 1 || format_of(f.up).block_elems > 1;
}

void check_ffn(const Formats& f, int64_t T) {
  CAPTURE(name_of(f.gate));
  CAPTURE(name_of(f.up));
  CAPTURE(name_of(f.down));
  CAPTURE(T);
  Rng rng(1);
  const int64_t d = in_blocks(f) ? 256 : 37, n = in_blocks(f) ? 96 : 29;
  const TestFfn w(rng, f, 1, d, n);
  const Rows x = Rows::random(rng, T, d);
  const TileRows dx(x), dy(T, d);
  const DeviceScratch scratch(gpu::ffn_tile_scratch(ffn_limits(T, d, n, 0, 0, 0)));
  gpu::ffn_tile(scratch.exec(), w.view(), dx.view(), dy.view());
  const Rows y = dy.download();
  const TileKind small{gpu::TileShape::small};
  Worst rounded, exact;
  for (int64_t t = 0; t < T; ++t) {
    std::vector<double> of_rounded(d), of_exact(d);
    w.add(0, 1, x[t], of_rounded, small);
    w.add(0, 1, x[t], of_exact, {});
    for (int64_t i = 0; i < d; ++i) {
      rounded.see(y[t][i], of_rounded[i], 1);
      exact.see(y[t][i], of_exact[i], 1);
    }
  }
  CHECK(rounded.error <= tolerance(f, small));
  CHECK(exact.error <= rounding(f, small));
}

// slots: which matrix an expert is, negative: left out; empty: its own number.
Rows check_moe(const Formats& f, int64_t T, int64_t E, bool with_shared, int64_t slice_bytes = gpu::kMoeSliceBytes,
               const std::vector<int32_t>& slots = {}, bool halved = false) {
  CAPTURE(name_of(f.gate));
  CAPTURE(name_of(f.up));
  CAPTURE(name_of(f.down));
  CAPTURE(T);
  CAPTURE(E);
  CAPTURE(with_shared);
  Rng rng(2);
  const int64_t K = 3, d = in_blocks(f) ? 256 : 37, n = in_blocks(f) ? 32 : 21, shared_n = 64;
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
  const DeviceScratch scratch(gpu::moe_tile_scratch(ffn_limits(T, d, n, shared_n, E, K), slice_bytes));
  gpu::moe_tile(scratch.exec(queue_with(halved)), view, with_shared ? shared.view() : FfnWeights{}, ids, weights, K,
                dx.view(), dy.view(), slice_bytes);
  const Rows y = dy.download();
  const TileKind tile{gpu::choose_expert_tile(T * K, E), halved};
  Worst rounded, exact;
  for (int64_t t = 0; t < T; ++t) {
    for (const bool given : {false, true}) {
      const auto how = [&](const TileKind& tile) { return given ? std::nullopt : std::optional(tile); };
      std::vector<double> expected(d);
      if (with_shared) shared.add(0, 1, x[t], expected, how({gpu::TileShape::small}));
      for (int64_t k = 0; k < K; ++k) {
        const int32_t id = to.ids[t * K + k], e = slots.empty() ? id : slots[id];
        if (e >= 0) experts.add(e, to.weights[t * K + k], x[t], expected, how(tile));
      }
      for (int64_t i = 0; i < d; ++i) (given ? exact : rounded).see(y[t][i], expected[i], 1);
    }
  }
  CHECK(rounded.error <= 3 * tolerance(f, tile));
  CHECK(exact.error <= 4 * rounding(f, tile));
  return y;
}

}  // namespace

TEST_CASE("ffn_tile: the formula") {
  for (const Formats& f : kAlike) {
    for (const int64_t T : {1, 9, 33, 130}) {
      if (T == 130 && f.gate != bf16) continue;
      check_ffn(f, T);
    }
  }
}

TEST_CASE("ffn_tile: gate and up in different formats, tokens in halves") {
  for (const Formats& f : kMixed) {
    for (const int64_t T : {1, 9, 33}) check_ffn(f, T);
  }
}

TEST_CASE("moe_tile: the weighted sum of the chosen experts, with and without shared ones") {
  for (const Formats& f : kAlike) {
    for (const bool with_shared : {true, false}) check_moe(f, 17, 9, with_shared);
  }
  for (const Formats& f : kMixed) check_moe(f, 17, 9, false);
}

TEST_CASE("moe_tile: more tokens than a tile holds, tiles of every size") {
  check_moe({q4_k, q4_k, q8_0}, 130, 40, true);  // 9 slots an expert, 130 of expert 2
  check_moe({q4_k, q4_k, q8_0}, 70, 8, false);   // 26
  check_moe({bf16, bf16, bf16}, 260, 6, false);  // 130
  check_moe({f32, f32, f32}, 150, 5, true);      // 90
}

TEST_CASE("moe_tile: in bytes, alone and beside formats that are not") {
  if (!has_byte_tiles()) return;
  constexpr int64_t kSlices = gpu::kMoeSliceBytes;
  check_moe({q4_k, q4_k, q8_0}, 70, 8, true, kSlices, {}, true);  // medium
  check_moe({q4_k, q4_k, q8_0}, 260, 6, false, 0, {}, true);      // large, y in slices
  check_moe({q4_k, q6_k, q8_0}, 140, 8, false, kSlices, {}, true);
  check_moe({q5_k, f32, q8_0}, 140, 8, false, kSlices, {}, true);
  check_moe({q5_k, bf16, q8_0}, 140, 8, false, kSlices, {}, true);  // only down
  check_moe({bf16, bf16, q8_0}, 70, 8, false, kSlices, {}, true);
  check_moe({q4_k, q4_k, f16}, 70, 8, false, kSlices, {}, true);
  check_moe({q4_k, q4_k, f32}, 70, 8, false, kSlices, {}, true);
  check_moe({q4_k, q4_k, q8_0}, 70, 8, true, kSlices, {2, -1, 5, -1, 0, 3, -1, 4}, true);
}

TEST_CASE("ffn_tile: in bytes") {
  if (!has_byte_tiles()) return;
  Rng rng(3);
  const int64_t T = 130, d = 256, n = 8192;  // so many rows that tiles are large
  const Formats f{q4_k, q4_k, q4_k};
  const TestFfn w(rng, f, 1, d, n);
  const Rows x = Rows::random(rng, T, d);
  const TileRows dx(x), dy(T, d);
  const DeviceScratch scratch(gpu::ffn_tile_scratch(ffn_limits(T, d, n, 0, 0, 0)));
  gpu::ffn_tile(scratch.exec(queue_with(true)), w.view(), dx.view(), dy.view());
  const Rows y = dy.download();
  Worst exact;
  for (const int64_t t : {0, 64, 129}) {
    std::vector<double> expected(d);
    w.add(0, 1, x[t], expected, {});
    for (int64_t i = 0; i < d; ++i) exact.see(y[t][i], expected[i], 1);
  }
  CHECK(exact.error <= rounding(f, {gpu::TileShape::large, true}));
}

TEST_CASE("moe_tile: one token") {
  check_moe({q4_k, q4_k, q8_0}, 1, 6, true);
  check_moe({q4_k, q6_k, q8_0}, 1, 6, false);
}

TEST_CASE("moe_tile: experts that have no slot are left out") {
  check_moe({q4_k, q4_k, q8_0}, 17, 9, true, gpu::kMoeSliceBytes, {2, -1, 5, -1, 0, 3, -1, 4, -1});
  check_moe({f32, bf16, bf16}, 40, 6, false, gpu::kMoeSliceBytes, {0, 1, -1, 7, -1, 2});
  check_moe({bf16, bf16, bf16}, 9, 5, false, gpu::kMoeSliceBytes, {0, -1, -1, -1, -1});  // 0 is nobody's
}

TEST_CASE("moe_tile: y in slices of columns") {
  check_moe({q4_k, q4_k, q8_0}, 9, 6, true, 0);
  check_moe({q4_k, q6_k, q8_0}, 9, 6, true, 0);
}

TEST_CASE("moe_tile: the same bits under every schedule") {
  std::vector<Rows> first;
  under_every_schedule([&] {
    const Rows y = check_moe({q4_k, q4_k, q8_0}, 40, 7, true);
    if (first.empty()) first.push_back(y);
    CHECK(y.same_bits(first[0]));
  });
}
