// The operations on single rows: rms_norm, rope, store_latent, add; and the memory operations.
#include "quant/fp.h"
#include "tests/kernels/fixture.h"
#include "tests/kernels/pages.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A table of plain rotary angles, in double, rounded at the end.
std::vector<float> rope_table(int64_t n_ctx, int64_t dim) {
  std::vector<float> table(n_ctx * dim);
  for (int64_t p = 0; p < n_ctx; ++p) {
    for (int64_t j = 0; j < dim / 2; ++j) {
      const double angle = double(p) * std::pow(10000.0, -2.0 * double(j) / double(dim));
      table[p * dim + 2 * j] = float(std::cos(angle));
      table[p * dim + 2 * j + 1] = float(std::sin(angle));
    }
  }
  return table;
}

}  // namespace

TEST_CASE("rms_norm: the formula, in place too") {
  for (const Ops* ops : available_tables()) {
    for (const int64_t d : {1, 7, 8, 33, 2048}) {
      for (const int64_t T : {1, 3, 20}) {
        CAPTURE(name_of(ops));
        CAPTURE(d);
        CAPTURE(T);
        Rng rng(1);
        Rows x = Rows::random(rng, T, d);
        const Rows w = Rows::random(rng, 1, d);
        const float eps = 1e-6f;
        Rows y(T, d);
        Bed bed(*ops, {});
        ops->rms_norm(bed.exec(), x.view(), w[0], eps, y.view());
        Worst worst;
        for (int64_t t = 0; t < T; ++t) {
          const double mean = dot(x[t], x[t], d).value / double(d);
          for (int64_t i = 0; i < d; ++i) {
            const double expected = double(w[0][i]) * x[t][i] / std::sqrt(mean + eps);
            worst.see(y[t][i], expected, std::abs(expected));
          }
        }
        CHECK(worst.error <= 4e-7);
        CHECK(y.clean());
        ops->rms_norm(bed.exec(), x.view(), w[0], eps, x.view());
        CHECK(x.same_bits(y));
      }
    }
  }
}

TEST_CASE("add_rms_norm: the bits of add, then rms_norm") {
  for (const Ops* ops : available_tables()) {
    for (const int64_t d : {1, 8, 33, 2048}) {
      for (const int64_t T : {1, 3, 20}) {
        CAPTURE(name_of(ops));
        CAPTURE(d);
        CAPTURE(T);
        Rng rng(9);
        Rows x = Rows::random(rng, T, d), sum = x;
        const Rows y = Rows::random(rng, T, d), w = Rows::random(rng, 1, d);
        Rows h(T, d), expected(T, d);
        Bed bed(*ops, {}, 2);
        ops->add(bed.exec(), y.view(), sum.view());
        ops->rms_norm(bed.exec(), sum.view(), w[0], 1e-6f, expected.view());
        const Rows before = x, rest = Rows::random(rng, T, d);
        ops->add_rms_norm(bed.exec(), y.view(), {}, x.view(), w[0], 1e-6f, h.view());
        CHECK(x.same_bits(sum));
        CHECK(h.same_bits(expected));
        x = before;
        ops->add(bed.exec(), rest.view(), sum.view());
        ops->rms_norm(bed.exec(), sum.view(), w[0], 1e-6f, expected.view());
        ops->add_rms_norm(bed.exec(), y.view(), rest.view(), x.view(), w[0], 1e-6f, h.view());
        CHECK(x.same_bits(sum));
        CHECK(h.same_bits(expected));
        CHECK(h.clean());
      }
    }
  }
}

TEST_CASE("rms_norm: a row of zeros stays finite") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rows x(1, 16), y(1, 16);
    std::fill_n(x.view().data, 16, 0.0f);
    Bed bed(*ops, {});
    const std::vector<float> w(16, 1.0f);
    ops->rms_norm(bed.exec(), x.view(), w.data(), 1e-6f, y.view());
    for (int i = 0; i < 16; ++i) CHECK(y[0][i] == 0.0f);
  }
}

TEST_CASE("rope: rotates adjacent pairs by the position's angle") {
  const int64_t dr = 8, n_ctx = 40;
  const std::vector<float> table = rope_table(n_ctx, dr);
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rng rng(2);
    const int64_t T = 11, H = 3, head = 13;  // the rope part is the last 8 of each head's 13
    std::vector<int32_t> positions(T);
    for (int64_t t = 0; t < T; ++t) positions[t] = int32_t(t * 3);
    const Rows before = Rows::random(rng, T, H * head);
    Rows x = before;
    Bed bed(*ops, {});
    ops->rope(bed.exec(), {table.data(), n_ctx, dr}, positions.data(), x.heads(H, dr, head - dr, head));
    Worst worst;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t h = 0; h < H; ++h) {
        const float* from = before[t] + h * head;
        const float* to = x[t] + h * head;
        for (int64_t i = 0; i < head - dr; ++i) CHECK(to[i] == from[i]);
        for (int64_t j = 0; j < dr / 2; ++j) {
          const double angle = positions[t] * std::pow(10000.0, -2.0 * double(j) / double(dr));
          const double a = from[head - dr + 2 * j], b = from[head - dr + 2 * j + 1];
          worst.see(to[head - dr + 2 * j], a * std::cos(angle) - b * std::sin(angle), std::hypot(a, b));
          worst.see(to[head - dr + 2 * j + 1], a * std::sin(angle) + b * std::cos(angle), std::hypot(a, b));
        }
      }
    }
    CHECK(worst.error <= 3e-7);
    CHECK(x.clean());
    for (int64_t i = 0; i < H * head; ++i) CHECK(x[0][i] == before[0][i]);  // position 0 turns nothing
  }
}

TEST_CASE("rope: a dot product depends on the distance of two positions only") {
  const int64_t dr = 16, n_ctx = 64;
  const std::vector<float> table = rope_table(n_ctx, dr);
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rng rng(3);
    const Rows q = Rows::random(rng, 1, dr), k = Rows::random(rng, 1, dr);
    const auto turned = [&](const Rows& x, int32_t position) {
      Rows y = x;
      Bed bed(*ops, {});
      ops->rope(bed.exec(), {table.data(), n_ctx, dr}, &position, y.heads(1, dr));
      return y;
    };
    const double near = dot(turned(q, 9)[0], turned(k, 4)[0], dr).value;
    const double far = dot(turned(q, 59)[0], turned(k, 54)[0], dr).value;
    CHECK(near == doctest::Approx(far).epsilon(1e-5));
    CHECK(near != doctest::Approx(dot(q[0], k[0], dr).value).epsilon(1e-3));
  }
}

TEST_CASE("store_latent: norm, rotation and rounding into the rows of the positions") {
  const int64_t r = 20, dr = 6, n_ctx = 16, T = 5;
  const std::vector<float> angles = rope_table(n_ctx, dr);
  for (const Ops* ops : available_tables()) {
    for (const FormatId id : {FormatId::f32, FormatId::bf16}) {
      CAPTURE(name_of(ops));
      CAPTURE(name_of(id));
      Rng rng(4);
      const Rows kv_a = Rows::random(rng, T, r + dr), norm = Rows::random(rng, 1, r);
      const int32_t positions[T] = {3, 4, 5, 15, 0};
      const PageTable table(n_ctx, 2);  // pages of four
      LatentCache cache{nullptr, id, table.n_rows(), r, dr};
      std::vector<std::byte> memory(cache.row_bytes() * cache.n_rows, std::byte(0xAA));
      cache.data = memory.data();
      const float eps = 1e-6f;
      Bed bed(*ops, {});
      Standing standing(table, 0, T);
      standing.at.ids = positions;
      ops->store_latent(bed.exec(), kv_a.view(), norm[0], eps, {angles.data(), n_ctx, dr}, cache, standing.at);

      Worst worst;
      for (int64_t t = 0; t < T; ++t) {
        std::vector<float> row(r + dr);
        format_of(id).decode(memory.data() + size_t(table.row(positions[t])) * cache.row_bytes(), row.data(), r + dr);
        const double mean = dot(kv_a[t], kv_a[t], r).value / double(r);
        for (int64_t c = 0; c < r; ++c) {
          const double expected = norm[0][c] * kv_a[t][c] / std::sqrt(mean + eps);
          worst.see(row[c], expected, std::abs(expected));
        }
        for (int64_t j = 0; j < dr / 2; ++j) {
          const double angle = positions[t] * std::pow(10000.0, -2.0 * double(j) / double(dr));
          const double a = kv_a[t][r + 2 * j], b = kv_a[t][r + 2 * j + 1];
          const double first = a * std::cos(angle) - b * std::sin(angle);
          const double second = a * std::sin(angle) + b * std::cos(angle);
          worst.see(row[r + 2 * j], first, id == FormatId::f32 ? std::hypot(a, b) : std::abs(first));
          worst.see(row[r + 2 * j + 1], second, id == FormatId::f32 ? std::hypot(a, b) : std::abs(second));
        }
      }
      CHECK(worst.error <= (id == FormatId::f32 ? 4e-7 : 0x1.01p-8));  // bf16: half of its last place
      for (int64_t row = 0; row < cache.n_rows; ++row) {               // the other rows are as they were
        if (std::ranges::any_of(positions, [&](int32_t p) { return table.row(p) == row; })) continue;
        for (size_t i = 0; i < cache.row_bytes(); ++i) CHECK(memory[row * cache.row_bytes() + i] == std::byte(0xAA));
      }
    }
  }
}

TEST_CASE("add") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rng rng(5);
    const Rows y = Rows::random(rng, 37, 19), before = Rows::random(rng, 37, 19, 8);
    Rows x = before;
    Bed bed(*ops, {});
    ops->add(bed.exec(), y.view(), x.view());
    for (int64_t t = 0; t < 37; ++t) {
      for (int64_t i = 0; i < 19; ++i) CHECK(x[t][i] == before[t][i] + y[t][i]);
    }
    CHECK(x.clean());
  }
}

TEST_CASE("a tensor's weights are read where they lie") {
  const std::vector<std::byte> bytes(4 * 3 * 34 * 2);
  const Weight stacked = as_weight({"w", &format_of(FormatId::q8_0), Shape(4, 3, 64), bytes.data()});
  CHECK(stacked.data == bytes.data());
  CHECK(stacked.count == 4);
  CHECK(stacked.n == 3);
  CHECK(stacked.k == 64);
  CHECK(stacked.row(1, 0) == bytes.data() + 3 * 68);
  const Weight flat = as_weight({"w", &format_of(FormatId::q8_0), Shape(12, 64), bytes.data()});
  CHECK(flat.count == 1);
  CHECK(flat.row(0, 11) == stacked.row(3, 2));
}

TEST_CASE("the host's buffers are zeroed and aligned") {
  Device& host = host_device();
  std::byte* buffer = host.buffer(100000);
  REQUIRE(buffer);
  CHECK(reinterpret_cast<uintptr_t>(buffer) % 64 == 0);
  for (size_t i = 0; i < 100000; ++i) REQUIRE(buffer[i] == std::byte(0));
  const float values[3] = {1, 2, 3};
  host.move(values, buffer, sizeof values);
  CHECK(std::memcmp(values, buffer, sizeof values) == 0);
  host.release(buffer, 100000);
  CHECK(host.buffer(size_t(1) << 62) == nullptr);
}
