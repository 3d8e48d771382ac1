// rope, store_latent, mla_attend and mha_attend of the CUDA kernels against the formulas in double.
//
// The references round queries to bf16 where the kernels do, so that what is left is the rounding of the softmax's
// weights, and of expanded keys and values: a fraction of a percent of the largest output.
#include "kernels/cpu/scalar.h"

#include <tuple>

#include "kernels/cuda/attention/mha_attend.h"
#include "kernels/cuda/attention/mla_attend.h"
#include "kernels/cuda/attention/rope.h"
#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/fixture.h"
#include "tests/kernels/limits.h"
#include "tests/kernels/pages.h"
#include "tests/support/device_memory.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Shapes = AttentionShapes;

std::vector<float> random_floats(Rng& rng, int64_t n) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(rng);
  return x;
}

// One layer's cache with n_kv random rows of a sequence, here and on the device; all others are NaN there.
struct Cache {
  Cache(Rng& rng, FormatId id, int64_t n_kv, int64_t n_ctx, const Shapes& s, int page_bits = kPageBits)
      : table(n_ctx, page_bits),
        width(s.r + s.dr),
        floats(random_floats(rng, n_kv * width)),
        device(size_t(table.n_rows()) * format_of(id).bytes(width)) {
    const size_t row_bytes = format_of(id).bytes(width);
    std::vector<std::byte> bytes(size_t(table.n_rows()) * row_bytes, std::byte(0xFF));
    for (int64_t p = 0; p < n_kv; ++p) {
      std::byte* stored = bytes.data() + size_t(table.row(p)) * row_bytes;
      format_of(id).encode(floats.data() + p * width, nullptr, stored, width);
      format_of(id).decode(stored, floats.data() + p * width, width);
    }
    device.upload(bytes);
    view = {device.data(), id, table.n_rows(), s.r, s.dr};
  }
  const float* row(int64_t p) const { return floats.data() + p * width; }

  PageTable table;
  int64_t width;
  std::vector<float> floats;
  DeviceArray<std::byte> device;
  LatentCache view;
};

// Where tokens stand, on the device: a call that was recorded for positions below `bound`.
struct DevicePositions {
  DevicePositions(const PageTable& table, int64_t pos0, int64_t T, int64_t bound)
      : DevicePositions(Standing(table, pos0, T).at, T, table.pages, bound) {}
  // The same of positions in the host's memory.
  DevicePositions(const Positions& at, int64_t T, const std::vector<int32_t>& table, int64_t bound)
      : ids(size_t(T)), sequences(size_t(T)), pages(table.size()), view(at) {
    ids.upload({at.ids, at.ids + T});
    sequences.upload({at.sequences, at.sequences + T});
    pages.upload(table);
    view.ids = ids.data(), view.sequences = sequences.data(), view.pages = pages.data();
    view.bound = bound;
  }
  DeviceArray<int32_t> ids, sequences, pages;
  Positions view;
};

// Rows of H heads of [a | b], with a gap between rows.
struct DeviceHeads {
  DeviceHeads(const std::vector<float>& rows, int64_t T, int64_t H, int64_t a, int64_t b)
      : values(size_t(T * stride(H, a + b))), T(T), H(H), a(a), b(b) {
    std::vector<float> gapped(values.size(), std::nanf(""));
    for (int64_t t = 0; t < T; ++t) {
      std::copy_n(rows.begin() + t * H * (a + b), H * (a + b), gapped.begin() + t * stride(H, a + b));
    }
    values.upload(gapped);
  }
  static int64_t stride(int64_t H, int64_t width) { return H * width + 6; }
  Heads<const float> first() const { return {values.data(), T, H, a, stride(H, a + b), a + b}; }
  Heads<const float> second() const { return {values.data() + a, T, H, b, stride(H, a + b), a + b}; }

  DeviceArray<float> values;
  int64_t T, H, a, b;
};

// The output, [T,H,width] with a gap between rows: nothing may be written there.
struct DeviceOutput {
  DeviceOutput(int64_t T, int64_t H, int64_t width) : T(T), H(H), width(width), values(size_t(T * (H * width + 2))) {}
  Heads<float> heads() const { return {values.data(), T, H, width, H * width + 2, width}; }
  // [T, H * width]
  std::vector<float> download() const {
    const std::vector<float> all = values.download();
    std::vector<float> out;
    for (int64_t t = 0; t < T; ++t) {
      const auto row = all.begin() + t * (H * width + 2);
      out.insert(out.end(), row, row + H * width);
      CHECK(std::isnan(row[H * width]));
      CHECK(std::isnan(row[H * width + 1]));
    }
    return out;
  }

  int64_t T, H, width;
  DeviceArray<float> values;
};

std::vector<double> weights_of(const float* q, const std::vector<float>& keys, int64_t width, int64_t n, double scale) {
  std::vector<double> p(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) p[i] = scale * dot(q, keys.data() + i * width, width).value;
  softmax(p);
  return p;
}

// q [T,H,r + dr] -> [T,H,r], token t at pos0 + t.
std::vector<float> absorbed(const std::vector<float>& q, int64_t T, const Shapes& s, const Cache& cache, int64_t pos0,
                            double scale) {
  std::vector<float> out(size_t(T * s.H * s.r));
  for (int64_t row = 0; row < T * s.H; ++row) {
    const int64_t n = pos0 + row / s.H + 1;
    const std::vector<double> p = weights_of(q.data() + row * cache.width, cache.floats, cache.width, n, scale);
    std::vector<double> sum(static_cast<size_t>(s.r));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t c = 0; c < s.r; ++c) sum[c] += p[i] * cache.row(i)[c];
    }
    std::copy(sum.begin(), sum.end(), out.begin() + row * s.r);
  }
  return out;
}

// q [T,H,nope + dr] -> [T,H,v].
std::vector<float> naive(const std::vector<float>& q, int64_t T, const Shapes& s, const TestWeight& k_b,
                         const TestWeight& v_b, const Cache& cache, int64_t pos0, double scale) {
  const int64_t n_kv = pos0 + T, width = s.nope + s.dr;
  std::vector<float> out(size_t(T * s.H * s.v));
  for (int64_t h = 0; h < s.H; ++h) {
    std::vector<float> keys(size_t(n_kv * width)), values(size_t(n_kv * s.v));
    for (int64_t i = 0; i < n_kv; ++i) {
      const float* latent = cache.row(i);
      for (int64_t j = 0; j < s.nope; ++j) {
        double sum = 0;
        for (int64_t c = 0; c < s.r; ++c) sum += double(to_bf16(k_b.row(h, c)[j])) * to_bf16(latent[c]);
        keys[i * width + j] = to_bf16(float(sum));
      }
      for (int64_t j = 0; j < s.dr; ++j) keys[i * width + s.nope + j] = to_bf16(latent[s.r + j]);
      for (int64_t j = 0; j < s.v; ++j) values[i * s.v + j] = float(dot(v_b.row(h, j), latent, s.r).value);
    }
    for (int64_t t = 0; t < T; ++t) {
      const int64_t n = pos0 + t + 1;
      const std::vector<double> p = weights_of(q.data() + (t * s.H + h) * width, keys, width, n, scale);
      for (int64_t j = 0; j < s.v; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += p[i] * values[i * s.v + j];
        out[(t * s.H + h) * s.v + j] = float(sum);
      }
    }
  }
  return out;
}

std::vector<float> rounded(std::vector<float> x) {
  for (float& v : x) v = to_bf16(v);
  return x;
}

// The largest difference, as a share of the largest expected value.
double error_of(const std::vector<float>& found, const std::vector<float>& expected) {
  REQUIRE(found.size() == expected.size());
  double largest = 0;
  for (const float x : expected) largest = std::max(largest, double(std::abs(x)));
  Worst worst;
  for (size_t i = 0; i < found.size(); ++i) worst.see(found[i], expected[i], largest);
  return worst.error;
}

constexpr double kTensorTolerance = 6e-3;  // of the largest output: bf16 has a last place of 4e-3 to 8e-3
constexpr double kPlainTolerance = 5e-6;

double tolerance_of(FormatId cache, const Shapes& s) {
  return cache == FormatId::bf16 && s.r % 16 == 0 && s.dr % 16 == 0 ? kTensorTolerance : kPlainTolerance;
}

// One call at pos0, against the formula. `bound`: what it was recorded for.
void check_mla(const Shapes& s, FormatId id, int64_t pos0, int64_t T, int64_t bound, float scale, bool every_schedule,
               int page_bits = kPageBits) {
  CAPTURE(name_of(id));
  CAPTURE(s.H);
  CAPTURE(s.r);
  CAPTURE(pos0);
  CAPTURE(T);
  CAPTURE(bound);
  Rng rng(1);
  const Cache cache(rng, id, pos0 + T, bound + 1, s, page_bits);
  const std::vector<float> q = random_floats(rng, T * s.H * cache.width);
  const bool tensor = tolerance_of(id, s) == kTensorTolerance;
  const std::vector<float> expected = absorbed(tensor ? rounded(q) : q, T, s, cache, pos0, scale);
  const DeviceHeads heads(q, T, s.H, s.r, s.dr);
  const DevicePositions positions(cache.table, pos0, T, bound);
  DeviceArray<std::byte> scratch(gpu::mla_attend_scratch(on_gpu(attention_limits(s, T, bound))));
  const auto run = [&] {
    scratch.poison();
    const DeviceOutput o(T, s.H, s.r);
    gpu::mla_attend(on_gpu(scratch), heads.first(), heads.second(), cache.view, positions.view, scale, o.heads());
    CHECK(cudaGetLastError() == cudaSuccess);
    scratch.download();  // nothing was written behind it
    CHECK(error_of(o.download(), expected) <= tolerance_of(id, s));
  };
  if (every_schedule) {
    under_every_schedule(run);
  } else {
    run();
  }
}

// n_chunk: positions of the chunks that there is scratch for; 0: as much as the call asks for.
void check_mha(const Shapes& s, FormatId k_format, FormatId v_format, FormatId id, int64_t pos0, int64_t T,
               int64_t bound, int64_t n_chunk, bool every_schedule) {
  CAPTURE(name_of(k_format));
  CAPTURE(name_of(v_format));
  CAPTURE(name_of(id));
  CAPTURE(s.H);
  CAPTURE(s.nope);
  CAPTURE(pos0);
  CAPTURE(T);
  Rng rng(2);
  const float size = 1.0f / std::sqrt(float(s.r)), scale = 2.0f / std::sqrt(float(s.nope + s.dr));
  const TestWeight k_b = TestWeight::gaussian(rng, format_of(k_format), s.H, s.r, s.nope, size);
  const TestWeight v_b = TestWeight::gaussian(rng, format_of(v_format), s.H, s.v, s.r, size);
  const Cache cache(rng, id, pos0 + T, bound + 1, s);
  const std::vector<float> q = random_floats(rng, T * s.H * (s.nope + s.dr));
  const std::vector<float> expected = naive(rounded(q), T, s, k_b, v_b, cache, pos0, scale);
  const DeviceHeads heads(q, T, s.H, s.nope, s.dr);
  const DevicePositions positions(cache.table, pos0, T, bound);
  const DeviceArray<std::byte> k_bytes(k_b.bytes), v_bytes(v_b.bytes);
  Weight k_view = k_b.view, v_view = v_b.view;
  k_view.data = k_bytes.data();
  v_view.data = v_bytes.data();
  DeviceArray<std::byte> scratch(gpu::mha_attend_scratch(on_gpu(attention_limits(s, T, n_chunk ? n_chunk : bound))));
  const auto run = [&] {
    scratch.poison();
    const DeviceOutput o(T, s.H, s.v);
    gpu::mha_attend(on_gpu(scratch), heads.first(), heads.second(), k_view, v_view, cache.view, positions.view, scale,
                    o.heads());
    CHECK(cudaGetLastError() == cudaSuccess);
    scratch.download();
    CHECK(error_of(o.download(), expected) <= 2 * kTensorTolerance);
  };
  if (every_schedule) {
    under_every_schedule(run);
  } else {
    run();
  }
}

}  // namespace

TEST_CASE("cuda rope: the scalar table's values") {
  for (const auto& [T, H, dr] : {std::tuple{1, 1, 2}, {3, 16, 64}, {33, 4, 16}, {2, 128, 32}}) {
    CAPTURE(T);
    CAPTURE(H);
    Rng rng(3);
    const int64_t n_ctx = 50;
    const std::vector<float> angles = random_floats(rng, n_ctx * dr);
    std::vector<int32_t> ids(static_cast<size_t>(T));
    for (int32_t& id : ids) id = int32_t(rng() % n_ctx);
    Rows x = Rows::random(rng, T, H * dr, 6);
    const std::vector<float> before(x.view().data, x.view().data + T * x.view().stride);
    const DeviceArray<float> device(before), table(angles);
    const DeviceArray<int32_t> positions(ids);
    under_every_schedule([&] {
      DeviceArray<float> values(before);
      gpu::rope(on_gpu(), {table.data(), n_ctx, dr}, positions.data(), {values.data(), T, H, dr, x.view().stride, dr});
      CHECK(cudaGetLastError() == cudaSuccess);
      const std::vector<float> found = values.download();
      Rows expected = x;
      scalar::rope({}, {angles.data(), n_ctx, dr}, ids.data(), expected.heads(H, dr));
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t i = 0; i < H * dr; ++i) {
          REQUIRE(std::abs(found[t * x.view().stride + i] - expected[t][i]) <= 1e-6 * (1 + std::abs(expected[t][i])));
        }
      }
    });
  }
}

TEST_CASE("cuda rope: more tokens than a grid has rows") {
  constexpr int64_t T = 65537;
  const DeviceArray<float> table(std::vector<float>{0, 1});  // a quarter turn
  const DeviceArray<int32_t> positions(std::vector<int32_t>(T, 0));
  std::vector<float> values;
  for (int64_t t = 0; t < T; ++t) values.insert(values.end(), {float(t), 1});
  const DeviceArray<float> x(values);
  gpu::rope(on_gpu(), {table.data(), 1, 2}, positions.data(), {x.data(), T, 1, 2, 2, 2});
  const std::vector<float> found = x.download();
  for (const int64_t t : {int64_t(0), T - 2, T - 1}) {
    CHECK(found[size_t(2 * t)] == -1);
    CHECK(found[size_t(2 * t + 1)] == float(t));
  }
}

TEST_CASE("cuda store_latent: the scalar table's rows, and no others") {
  for (const FormatId id : {FormatId::f32, FormatId::bf16}) {
    for (const auto& [T, r, dr] : {std::tuple{1, 512, 64}, {3, 32, 16}, {33, 20, 6}}) {
      CAPTURE(name_of(id));
      CAPTURE(T);
      CAPTURE(r);
      Rng rng(4);
      const int64_t n_ctx = T + 5, width = r + dr;
      const std::vector<float> angles = random_floats(rng, n_ctx * dr), norm = random_floats(rng, r);
      const std::vector<float> kv_a = random_floats(rng, T * (width + 2));
      const PageTable pages(n_ctx, 3);  // pages of eight
      const size_t row_bytes = format_of(id).bytes(width), bytes = row_bytes * size_t(pages.n_rows());
      std::vector<std::byte> expected(bytes, std::byte(0xff));
      const Standing standing(pages, 3, T);
      scalar::store_latent({}, {kv_a.data(), T, width, width + 2}, norm.data(), 1e-6f, {angles.data(), n_ctx, dr},
                           {expected.data(), id, pages.n_rows(), r, dr}, standing.at);
      const DeviceArray<float> device_kv_a(kv_a), device_norm(norm), table(angles);
      const DevicePositions positions(standing.at, T, pages.pages, n_ctx);
      DeviceArray<std::byte> cache(bytes);
      under_every_schedule([&] {
        cache.poison();
        gpu::store_latent(on_gpu(), {device_kv_a.data(), T, width, width + 2}, device_norm.data(), 1e-6f,
                          {table.data(), n_ctx, dr}, {cache.data(), id, pages.n_rows(), r, dr}, positions.view);
        CHECK(cudaGetLastError() == cudaSuccess);
        const std::vector<std::byte> found = cache.download();
        std::vector<std::byte> others = found;  // all rows but those that were to be stored are as they were
        for (int64_t t = 0; t < T; ++t) {
          const size_t at = size_t(pages.row(3 + t)) * row_bytes;
          std::vector<float> a(static_cast<size_t>(width)), b = a;
          format_of(id).decode(found.data() + at, a.data(), width);
          format_of(id).decode(expected.data() + at, b.data(), width);
          for (size_t i = 0; i < a.size(); ++i) {  // a sum in float, and a rounding that it may tip over
            REQUIRE(std::abs(a[i] - b[i]) <= (id == FormatId::f32 ? 2e-6 : 8e-3) * std::abs(b[i]) + 1e-7);
          }
          std::copy_n(expected.begin() + ptrdiff_t(at), row_bytes, others.begin() + ptrdiff_t(at));
        }
        CHECK(others == expected);
      });
    }
  }
}

TEST_CASE("cuda mla_attend: lengths, tokens, heads, both formats of the cache") {
  for (const FormatId id : {FormatId::bf16, FormatId::f32}) {
    for (const int64_t H : {1, 2, 16}) {
      for (const int64_t n : {1, 2, 17, 63, 64, 65, 300}) {
        for (const int64_t T : {1, 2, 7, 33}) {
          if (T > n || (T == 33 && n == 300 && H == 16)) continue;
          if (id == FormatId::f32 && (H == 2 || T == 2 || T == 33)) continue;  // widths apart, one code for all of them
          check_mla({H, 32, 16}, id, n - T, T, n, 0.3f, false);
        }
      }
    }
  }
}

TEST_CASE("cuda mla_attend: every schedule") {
  check_mla({16, 48, 16}, FormatId::bf16, 130, 1, 131, 0.3f, true);  // 16 rows to a block
  check_mla({4, 128, 32}, FormatId::bf16, 98, 7, 105, 0.2f, true);   // 32
  check_mla({5, 16, 16}, FormatId::bf16, 290, 9, 299, 0.4f, true);   // 32, the rest of a group
  check_mla({5, 512, 64}, FormatId::bf16, 60, 9, 69, 0.1f, true);    // 64, of which 45 are there
  check_mla({2, 32, 16}, FormatId::f32, 140, 2, 142, 0.3f, true);
}

TEST_CASE("cuda mla_attend: the published widths") {
  check_mla({16, 512, 64}, FormatId::bf16, 299, 1, 300, 0.1147f, false);
  check_mla({128, 512, 64}, FormatId::bf16, 259, 1, 260, 0.1147f, false);
  check_mla({28, 512, 64}, FormatId::bf16, 99, 1, 100, 0.1147f, false);
  check_mla({16, 512, 64}, FormatId::f32, 99, 2, 101, 0.1147f, false);
}

TEST_CASE("cuda mla_attend: widths that the tensor cores do not take") {
  check_mla({3, 20, 6}, FormatId::bf16, 80, 3, 83, 0.4f, false);
  check_mla({2, 33, 8}, FormatId::bf16, 200, 1, 201, 0.4f, false);
}

TEST_CASE("cuda mla_attend: recorded for one position, replayed at others") {
  for (const FormatId id : {FormatId::bf16, FormatId::f32}) {
    for (const int64_t pos0 : {0, 1, 31, 32, 200, 639}) check_mla({16, 32, 16}, id, pos0, 1, 640, 0.3f, false);
    check_mla({16, 32, 16}, id, 70, 8, 640, 0.3f, false);
  }
}

TEST_CASE("cuda mla_attend: one token of each of several sequences") {
  constexpr int64_t kLengths[] = {1, 300, 64, 65, 17};
  const int64_t B = std::size(kLengths), stride = 7;
  for (const FormatId id : {FormatId::bf16, FormatId::f32}) {
    for (const Shapes& s : {Shapes{16, 32, 16}, {3, 32, 16}, {40, 32, 16}}) {  // 16 rows to a block, or more
      CAPTURE(name_of(id));
      CAPTURE(s.H);
      Rng rng(7);
      const Cache pool(rng, id, 640, 640, s);
      const std::vector<float> q = random_floats(rng, B * s.H * pool.width);
      const bool tensor = tolerance_of(id, s) == kTensorTolerance;
      const std::vector<float> queries = tensor ? rounded(q) : q;
      std::vector<int32_t> ids, sequences, pages(size_t(B * stride), -1);
      std::vector<float> expected;
      for (int64_t i = 0; i < B; ++i) {  // sequence i begins with page i of the pool, and shares what follows
        ids.push_back(int32_t(kLengths[i] - 1));
        sequences.push_back(int32_t(B - 1 - i));
        std::copy_n(pool.table.pages.begin() + i, (kLengths[i] + 63) / 64, pages.begin() + (B - 1 - i) * stride);
        const std::vector<float> rows(pool.floats.begin() + i * 64 * pool.width, pool.floats.end());
        for (int64_t h = 0; h < s.H; ++h) {
          const float* query = queries.data() + (i * s.H + h) * pool.width;
          const std::vector<double> p = weights_of(query, rows, pool.width, kLengths[i], 0.3);
          for (int64_t c = 0; c < s.r; ++c) {
            double sum = 0;
            for (int64_t k = 0; k < kLengths[i]; ++k) sum += p[size_t(k)] * rows[size_t(k * pool.width + c)];
            expected.push_back(float(sum));
          }
        }
      }
      const Positions at = {ids.data(), sequences.data(), nullptr, stride, kPageBits, false, 640};
      const DevicePositions positions(at, B, pages, 640);
      const DeviceHeads heads(q, B, s.H, s.r, s.dr);
      DeviceArray<std::byte> scratch(gpu::mla_attend_scratch(on_gpu(attention_limits(s, B, 640))));
      under_every_schedule([&] {
        scratch.poison();
        const DeviceOutput o(B, s.H, s.r);
        gpu::mla_attend(on_gpu(scratch), heads.first(), heads.second(), pool.view, positions.view, 0.3f, o.heads());
        CHECK(cudaGetLastError() == cudaSuccess);
        scratch.download();
        CHECK(error_of(o.download(), expected) <= tolerance_of(id, s));
      });
    }
  }
}

TEST_CASE("cuda mla_attend: chosen rows, listed one by one, are pages of one position") {
  for (const FormatId id : {FormatId::bf16, FormatId::f32}) {
    check_mla({16, 32, 16}, id, 299, 1, 300, 0.3f, false, 0);
    check_mla({16, 32, 16}, id, 290, 3, 300, 0.3f, false, 0);
  }
}

TEST_CASE("cuda mla_attend: scores far apart neither overflow nor vanish") {
  for (const float scale : {30.0f, 1e-6f}) {
    check_mla({2, 32, 16}, FormatId::bf16, 299, 1, 300, scale, false);
    check_mla({2, 32, 16}, FormatId::bf16, 299, 40, 339, scale, false);
  }
}

// Largest scores that rise from position to position, slower and faster than what the base of a row lets pass.
TEST_CASE("cuda mla_attend: sums are rescaled wherever the largest score has risen") {
  for (const float scale : {0.5f, 3.0f}) check_mla({16, 512, 64}, FormatId::bf16, 299, 1, 300, scale, false);
}

// 16 rows in a block, or 64: the same sums in the same order.
TEST_CASE("cuda mla_attend: a token's bits do not depend on the others of its call") {
  const Shapes s{16, 512, 64};
  constexpr int64_t T = 4, n = 120, width = 576;
  Rng rng(8);
  const Cache cache(rng, FormatId::bf16, n, n + 1, s);
  const std::vector<float> q = random_floats(rng, T * s.H * width);
  const auto attend = [&](int64_t first) {
    const DeviceHeads heads({q.begin() + first * s.H * width, q.end()}, T - first, s.H, s.r, s.dr);
    const DevicePositions positions(cache.table, n - T + first, T - first, n);
    const DeviceArray<std::byte> scratch(gpu::mla_attend_scratch(on_gpu(attention_limits(s, T, n))));
    const DeviceOutput o(T - first, s.H, s.r);
    gpu::mla_attend(on_gpu(scratch), heads.first(), heads.second(), cache.view, positions.view, 1.0f, o.heads());
    return o.download();
  };
  const std::vector<float> all = attend(0);
  for (int64_t first = 1; first < T; ++first) {
    CHECK(std::equal(all.begin() + first * s.H * s.r, all.end(), attend(first).begin()));
  }
}

TEST_CASE("cuda mha_attend: positions, tokens, both formats of the cache") {
  for (const FormatId id : {FormatId::bf16, FormatId::f32}) {
    for (const auto& [pos0, T] : {std::pair{0, 1}, {0, 7}, {0, 64}, {63, 2}, {0, 65}, {100, 33}, {60, 130}}) {
      check_mha({2, 32, 16, 16, 16}, FormatId::bf16, FormatId::bf16, id, pos0, T, pos0 + T, 0, false);
    }
    check_mha({2, 32, 16, 24, 16}, FormatId::bf16, FormatId::bf16, id, 10, 20, 30, 0, false);  // a width that is padded
    check_mha({4, 128, 32, 32, 64}, FormatId::bf16, FormatId::bf16, id, 10, 70, 80, 0, false);
    check_mha({2, 20, 6, 10, 12}, FormatId::f32, FormatId::f32, id, 10, 20, 30, 0, false);  // everything is
    check_mha({1, 512, 64, 128, 128}, FormatId::bf16, FormatId::bf16, id, 20, 64, 84, 0,
              false);  // the published widths
  }
}

// Of 64, 128 and 256 queries, with 4 multiprocessors.
TEST_CASE("cuda mha_attend: blocks of every size at the published widths") {
  const FormatId bf16 = FormatId::bf16;
  check_mha({1, 512, 64, 128, 128}, bf16, bf16, bf16, 30, 70, 100, 0, false);
  check_mha({2, 512, 64, 128, 128}, bf16, bf16, bf16, 3, 140, 143, 0, false);
  check_mha({4, 512, 64, 128, 128}, bf16, bf16, bf16, 0, 70, 70, 0, false);
  check_mha({2, 512, 64, 128, 128}, bf16, bf16, bf16, 120, 130, 250, 128, false);  // in chunks
}

TEST_CASE("cuda mha_attend: chunks, and replays") {
  check_mha({2, 32, 16, 16, 16}, FormatId::bf16, FormatId::bf16, FormatId::bf16, 200, 140, 340, 128, false);
  check_mha({2, 32, 16, 16, 16}, FormatId::bf16, FormatId::bf16, FormatId::f32, 120, 20, 140, 128, false);
  for (const int64_t pos0 : {0, 100, 250, 380}) {
    check_mha({4, 32, 16, 16, 16}, FormatId::bf16, FormatId::bf16, FormatId::bf16, pos0, 20, 400, 128, false);
  }
}

TEST_CASE("cuda mha_attend: weights in every format") {
  for (const Format& format : all_formats()) {  // a row of k_b is no longer than the keys may be wide
    const FormatId k_b = format.block_elems <= 128 ? format.id : FormatId::bf16;
    check_mha({1, 256, 16, 128, 16}, k_b, format.id, FormatId::bf16, 5, 9, 14, 0, false);
  }
}

TEST_CASE("cuda mha_attend: every schedule") {
  check_mha({4, 48, 16, 32, 16}, FormatId::q8_0, FormatId::f16, FormatId::bf16, 90, 40, 130, 128, true);
  check_mha({4, 64, 64, 128, 128}, FormatId::bf16, FormatId::bf16, FormatId::bf16, 90, 40, 130, 128, true);
}
