// Prefill matmuls on the (emulated) GPU: every format, tiles of every size, awkward shapes, against sums in double of
// the same values as they are rounded, and of those before.
#include "kernels/cuda/matmul/matmul_tile.h"

#include <cstring>
#include <functional>

#include "kernels/cuda/matmul/tile_input.h"
#include "tests/kernels/cuda/tile_fixture.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Of the sum of |w x|. Float32 sums in an order of the hardware's.
constexpr double kTolerance = 4e-6;
// And what rounding loses in each product: of a token, twice 8 bits later, or two values rounded to bf16; or in bytes
// half of a level, where the largest of 64 values has nearly 2^15, and where the others have the large weights.
double rounding(const TileKind& tile, FormatId weights) {
  return (gpu::keeps_16_bits(tile.shape) ? 0x1p-16 : tile.in_bytes(weights) ? 0x1p-12 : 0x1p-7) + kTolerance;
}
constexpr double kTiny = 1e-30;  // random bytes hold weights whose products are subnormal

std::string name_of(gpu::TileShape shape) {
  if (shape == gpu::TileShape::tiny) return "tiny";
  return shape == gpu::TileShape::small ? "small" : shape == gpu::TileShape::medium ? "medium" : "large";
}
std::string name_of(const TileKind& tile) {
  return name_of(tile.shape) + (tile.halved ? ", float sums at half rate" : "");
}

// y against matrix `h` of w times x.
template <class Row>
void check_products(const TestWeight& w, const TileKind& tile, int64_t h, int64_t T, Row x, Row y) {
  Worst rounded, exact;
  const FormatId id = w.view.format->id;
  const Stored how = tile_storage(id, tile);
  for (int64_t t = 0; t < T; ++t) {
    const std::vector<float> row = as_multiplied(x(t), w.view.k, id, tile.shape, tile.in_bytes(id));
    for (int64_t i = 0; i < w.view.n; ++i) {
      const Sum sum = stored_dot(w.row(h, i), row, how), plain = dot(w.row(h, i), x(t), w.view.k);
      rounded.see(y(t)[i], sum.value, sum.magnitude + kTiny);
      exact.see(y(t)[i], plain.value, plain.magnitude + kTiny);
    }
  }
  CHECK(rounded.error <= kTolerance);
  CHECK(exact.error <= rounding(tile, id));
}

Rows multiply_tile(const TestWeight& w, const TileKind& tile, const Rows& x, int64_t T, bool may_be_nan = false) {
  const TileRows dx(x), dy(T, w.view.n);
  const TileWeight dw(w);
  const DeviceArray<uint16_t> rounded{size_t(gpu::rounded_values(T, 1, w.view.k))};
  gpu::TileProduct p;
  p.w = gpu::WeightRows(dw.view);
  p.n = int(w.view.n);
  const FormatId id = w.view.format->id;
  gpu::round_tokens(gpu::one_head(dx.view()), rounded, tile.in_bytes(id), tile.queue()).give(dw.view, p);
  p.y = dy.view().data;
  p.y_stride = dy.view().stride;
  p.n_tokens = int(T);
  gpu::tile_product(id, tile.shape, p, tile.queue());
  return dy.download(may_be_nan);
}

void check_tile(const TestWeight& w, const TileKind& tile, int64_t T, Rng& rng) {
  const Rows x = Rows::random(rng, T, w.view.k);
  const Rows y = multiply_tile(w, tile, x, T);
  const auto row_of = [](const Rows& rows) { return [&rows](int64_t t) { return rows[t]; }; };
  check_products<std::function<const float*(int64_t)>>(w, tile, 0, T, row_of(x), row_of(y));
}

void check_matmul(const TestWeight& w, int64_t T, Rng& rng, bool halved = false) {
  const Rows x = Rows::random(rng, T, w.view.k);
  const TileRows dx(x), dy(T, w.view.n);
  const TileWeight dw(w);
  ScratchLimits limits;
  limits.max_tokens = T;
  limits.max_width = w.view.k;
  const DeviceScratch scratch(gpu::matmul_tile_scratch(limits));
  gpu::matmul_tile(scratch.exec(queue_with(halved)), dw.view, dx.view(), dy.view());
  const Rows y = dy.download();
  const auto row_of = [](const Rows& rows) { return [&rows](int64_t t) { return rows[t]; }; };
  const TileKind tile{gpu::choose_tile(T, w.view.n, 1), halved};
  check_products<std::function<const float*(int64_t)>>(w, tile, 0, T, row_of(x), row_of(y));
}

}  // namespace

TEST_CASE("tiles: every format, every size, awkward shapes") {
  using gpu::TileShape;
  for (const Format& format : all_formats()) {
    Rng rng(uint32_t(format.id) * 7919 + 1);
    const bool any_k = format.block_elems == 1;
    const int64_t one = any_k ? 37 : format.block_elems, some = 256, many = format.fits(1408) ? 1408 : 1280;
    const struct {
      TileKind tile;
      int64_t T, n, k;
    } cases[] = {
        {{TileShape::medium, true}, 65, 1, one},
        {{TileShape::medium, true}, 33, 130, some},
        {{TileShape::medium, true}, 9, 17, many},
        {{TileShape::large, true}, 130, 17, one},
        {{TileShape::large, true}, 65, 130, some},
        {{TileShape::large, true}, 9, 3, many},
        {{TileShape::tiny}, 9, 3, one},
        {{TileShape::tiny}, 17, 64, some},
        {{TileShape::tiny}, 2, 17, many},
        {{TileShape::small}, 9, 3, one},
        {{TileShape::small}, 33, 64, some},
        {{TileShape::small}, 9, 17, many},
        {{TileShape::medium}, 65, 1, one},
        {{TileShape::medium}, 33, 130, some},
        {{TileShape::medium}, 9, 17, many},
        {{TileShape::large}, 130, 17, one},
        {{TileShape::large}, 65, 130, some},
        {{TileShape::large}, 9, 3, many},
    };
    for (const auto& c : cases) {
      if (c.tile.halved && !has_byte_tiles()) continue;
      CAPTURE(name_of(format.id));
      CAPTURE(name_of(c.tile));
      CAPTURE(c.T);
      CAPTURE(c.n);
      CAPTURE(c.k);
      check_tile(TestWeight::random_bytes(rng, format, 1, c.n, c.k), c.tile, c.T, rng);
    }
    CAPTURE(name_of(format.id));
    check_tile(TestWeight::extreme(rng, format, 5, some), {TileShape::small}, 9, rng);
    if (has_byte_tiles()) check_tile(TestWeight::extreme(rng, format, 5, some), {TileShape::medium, true}, 9, rng);
  }
}

TEST_CASE("tiles: tiny and small ones give the same bits") {
  for (const FormatId id : {FormatId::q4_k, FormatId::q5_0, FormatId::f8_e4m3, FormatId::f16}) {
    CAPTURE(name_of(id));
    Rng rng(8);
    const int64_t T = 35, n = 40;
    const TestWeight w = TestWeight::random_bytes(rng, format_of(id), 1, n, 512);
    const Rows x = Rows::random(rng, T, 512);
    const Rows tiny = multiply_tile(w, {gpu::TileShape::tiny}, x, T),
               small = multiply_tile(w, {gpu::TileShape::small}, x, T);
    for (int64_t t = 0; t < T; ++t) CHECK(std::memcmp(tiny[t], small[t], size_t(n) * sizeof(float)) == 0);
  }
}

TEST_CASE("tiles: plain floats in rows of any length") {
  Rng rng(2);
  for (const FormatId id : {FormatId::f16, FormatId::bf16, FormatId::f32}) {
    for (const int64_t k : {1, 7, 8, 31, 63, 65, 129}) {
      CAPTURE(name_of(id));
      CAPTURE(k);
      const TestWeight w = TestWeight::random_bytes(rng, format_of(id), 1, 5, k);
      for (const gpu::TileShape shape : {gpu::TileShape::tiny, gpu::TileShape::small, gpu::TileShape::large})
        check_tile(w, {shape}, 10, rng);
    }
  }
}

TEST_CASE("matmul_tile: under every schedule") {
  for (const FormatId id : {FormatId::q4_k, FormatId::q6_k, FormatId::bf16, FormatId::f32}) {
    CAPTURE(name_of(id));
    under_every_schedule([&] {
      Rng rng(3);
      check_matmul(TestWeight::random_bytes(rng, format_of(id), 1, 33, 512), 33, rng);
    });
  }
}

TEST_CASE("tiles: under every schedule") {
  using gpu::TileShape;
  for (const TileKind& tile : {TileKind{TileShape::tiny},
                               {TileShape::small},
                               {TileShape::medium},
                               {TileShape::large},
                               {TileShape::medium, true},
                               {TileShape::large, true}}) {
    if (tile.halved && !has_byte_tiles()) continue;
    CAPTURE(name_of(tile));
    under_every_schedule([&] {
      Rng rng(4);
      check_tile(TestWeight::random_bytes(rng, format_of(FormatId::q8_0), 1, 40, 352), tile, 40, rng);
      if (tile.halved) check_tile(TestWeight::random_bytes(rng, format_of(FormatId::q2_k), 1, 40, 256), tile, 40, rng);
    });
  }
}

TEST_CASE("tiles of bytes: medium and large ones give the same bits") {
  if (!has_byte_tiles()) return;
  for (const FormatId id : {FormatId::q4_k, FormatId::q5_0, FormatId::q6_k, FormatId::i4_g128}) {
    CAPTURE(name_of(id));
    Rng rng(9);
    const int64_t T = 70, n = 40;
    const TestWeight w = TestWeight::random_bytes(rng, format_of(id), 1, n, 512);
    const Rows x = Rows::random(rng, T, 512);
    const Rows medium = multiply_tile(w, {gpu::TileShape::medium, true}, x, T),
               large = multiply_tile(w, {gpu::TileShape::large, true}, x, T);
    CHECK(medium.same_bits(large));
  }
}

TEST_CASE("tiles of bytes: a token with no number, or with infinity, gives none; huge and tiny ones keep their bits") {
  if (!has_byte_tiles()) return;
  for (const FormatId id : {FormatId::q4_k, FormatId::q6_k, FormatId::q8_0}) {
    CAPTURE(name_of(id));
    Rng rng(10);
    const int64_t T = 9, n = 5, k = 256;
    const TestWeight w = TestWeight::gaussian(rng, format_of(id), 1, n, k, 1.0f);
    Rows x = Rows::random(rng, T, k);
    x.view().row(1)[3] = std::numeric_limits<float>::quiet_NaN();
    x.view().row(2)[200] = std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < k; ++i) {
      x.view().row(3)[i] *= 1e30f, x.view().row(4)[i] *= 1e-30f, x.view().row(5)[i] = 0;
      if (i < 64) x.view().row(6)[i] *= 1e30f;
    }
    const Rows y = multiply_tile(w, {gpu::TileShape::medium, true}, x, T, true);
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t i = 0; i < n; ++i) {
        CAPTURE(t);
        const Sum exact = dot(w.row(0, i), x[t], k);
        if (t == 1 || t == 2) {
          CHECK(std::isnan(y[t][i]));
        } else {
          CHECK(std::abs(y[t][i] - exact.value) <= exact.magnitude * (0x1p-12 + kTolerance));
        }
      }
    }
  }
}

TEST_CASE("matmul_tile: few tokens, no tokens") {
  Rng rng(5);
  for (const int64_t T : {0, 1, 2, 8}) {
    CAPTURE(T);
    check_matmul(TestWeight::random_bytes(rng, format_of(FormatId::q5_0), 1, 17, 96), T, rng);
    check_matmul(TestWeight::random_bytes(rng, format_of(FormatId::f32), 1, 17, 33), T, rng);
  }
}

TEST_CASE("matmul_heads_tile: a matrix for each head, in slices of tokens") {
  for (const FormatId id : {FormatId::q8_0, FormatId::f16, FormatId::f32}) {
    for (const auto& [T, halved, H] : {std::tuple(9, false, 3), {130, false, 3}, {128, true, 70}}) {
      if (halved && (id == FormatId::f32 || !has_byte_tiles())) continue;
      CAPTURE(name_of(id));
      CAPTURE(T);
      Rng rng(6);
      const int64_t n = 19, k = 64;
      const TestWeight w = TestWeight::random_bytes(rng, format_of(id), H, n, k);
      const Rows x = Rows::random(rng, T, H * k);
      const TileRows dx(x), dy(T, H * n);
      const TileWeight dw(w);
      ScratchLimits limits;
      limits.max_tokens = T;
      limits.n_heads = H;
      limits.kv_lora_rank = k;
      const int64_t slice_bytes = 0;  // 128 tokens
      const DeviceScratch scratch(gpu::matmul_heads_tile_scratch(limits, slice_bytes));
      gpu::matmul_heads_tile(scratch.exec(queue_with(halved)), dw.view, dx.heads(H, k), dy.heads(H, n), slice_bytes);
      const Rows y = dy.download();
      for (int64_t h = 0; h < H; ++h) {
        check_products<std::function<const float*(int64_t)>>(
            w, TileKind{gpu::choose_tile(T, n, H), halved}, h, T, [&](int64_t t) { return x[t] + h * k; },
            [&](int64_t t) { return y[t] + h * n; });
      }
    }
  }
}

TEST_CASE("the tile is as large as its waste allows") {
  using gpu::TileShape;
  CHECK(gpu::choose_tile(16, 102400, 1) == TileShape::tiny);
  CHECK(gpu::choose_tile(17, 102400, 1) == TileShape::small);
  CHECK(gpu::choose_tile(33, 102400, 1) == TileShape::medium);
  CHECK(gpu::choose_tile(512, 576, 1) == TileShape::small);  // 20 large tiles would leave most of a GPU idle
  CHECK(gpu::choose_tile(512, 4096, 1) == TileShape::large);
  CHECK(gpu::choose_tile(512, 128, 128) == TileShape::large);
  CHECK(gpu::choose_expert_tile(9 * 6, 64) == TileShape::tiny);
  CHECK(gpu::choose_expert_tile(128 * 6, 64) == TileShape::small);
  CHECK(gpu::choose_expert_tile(512 * 6, 64) == TileShape::medium);
  CHECK(gpu::choose_expert_tile(2048 * 6, 64) == TileShape::large);
  CHECK(gpu::choose_expert_tile(64 * 6, 64, true) == TileShape::tiny);
  CHECK(gpu::choose_expert_tile(2048 * 6, 64, true) == TileShape::small);
}
