// matmul, matmul_heads and embed: every format, every table, awkward shapes, against sums in double of what the table
// multiplies (fixture.h: ways_of).
#include <optional>

#include "tests/kernels/fixture.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// float32 sums of up to a few thousand products in several partial sums: the bound grows with the square root only.
constexpr double kTolerance = 1e-6;  // of the sum of |w x|
constexpr double kTiny = 1e-30;      // random bytes hold weights whose products are subnormal

ScratchLimits limits_for(int64_t T, int64_t n, int64_t k) {
  ScratchLimits l;
  l.max_tokens = T;
  l.max_width = std::max(n, k);
  return l;
}

// `rounded`: w as the table multiplies it for many tokens, once that was needed. Checks every `every`-th token.
void check_matmul(const Ops& ops, const TestWeight& w, int64_t T, Rng& rng, std::optional<TestWeight>& rounded,
                  int64_t every = 1) {
  Bed bed(ops, limits_for(T, w.view.n, w.view.k));
  const Rows x = Rows::random(rng, T, w.view.k);
  Rows y(T, w.view.n);
  ops.matmul(bed.exec(), w.view, x.view(), y.view());
  double error = INFINITY;
  for (const Stored how : ways_of(ops, w.view.format->id)) {
    if (error <= kTolerance) break;
    const TestWeight* used = &w;
    if (how == Stored::int8) {
      if (!rounded) rounded.emplace(as_multiplied(ops, w));
      used = &*rounded;
    }
    Worst worst;
    for (int64_t t = 0; t < T; t += every) {
      const std::vector<float> row = stored(x[t], w.view.k, how);
      for (int64_t i = 0; i < w.view.n; ++i) {
        const Sum sum = stored_dot(used->row(0, i), row, how);
        worst.see(y[t][i], sum.value, sum.magnitude + kTiny);
      }
    }
    error = std::min(error, worst.error);
  }
  CHECK(error <= kTolerance);
  CHECK(y.clean());
  CHECK(bed.scratch_kept());
}

}  // namespace

TEST_CASE("matmul: every format, every table, awkward shapes") {
  for (const Ops* ops : available_tables()) {
    for (const Format& format : all_formats()) {
      Rng rng(uint32_t(format.id) * 7919 + 1);
      for (const int64_t k : {int64_t(format.block_elems), int64_t(format.block_elems) * 3, int64_t(1408), int64_t(768),
                              int64_t(format.block_elems == 1 ? 37 : 512)}) {
        if (!format.fits(k)) continue;
        for (const int64_t n : {1, 3, 17}) {
          const TestWeight w = TestWeight::random_bytes(rng, format, 1, n, k);
          std::optional<TestWeight> rounded;
          for (const int64_t T : {1, 2, 3, 4, 5, 7, 8, 9, 13, 33}) {
            CAPTURE(name_of(ops));
            CAPTURE(name_of(format.id));
            CAPTURE(n);
            CAPTURE(k);
            CAPTURE(T);
            check_matmul(*ops, w, T, rng, rounded);
          }
        }
      }
    }
  }
}

TEST_CASE("matmul: more rows, weights of a row and tokens than are taken at once") {
  Rng rng(2);
  for (const Ops* ops : available_tables()) {
    for (const FormatId id : {FormatId::bf16, FormatId::q4_k, FormatId::q8_0}) {
      CAPTURE(name_of(ops));
      CAPTURE(name_of(id));
      const TestWeight w = TestWeight::gaussian(rng, format_of(id), 1, 273, 768, 0.02f);
      std::optional<TestWeight> rounded;
      check_matmul(*ops, w, 1, rng, rounded);
      check_matmul(*ops, w, 533, rng, rounded, 19);  // the last one, too
    }
  }
}

// Activations of one size with the weights' signs, or against them: the largest sums that integers must hold.
TEST_CASE("matmul: the largest sums of every format fit") {
  for (const Ops* ops : available_tables()) {
    for (const Format& format : all_formats()) {
      CAPTURE(name_of(ops));
      CAPTURE(name_of(format.id));
      Rng rng(uint32_t(format.id) + 11);
      const int64_t n = 9, k = 512;
      const TestWeight w = TestWeight::extreme(rng, format, n, k);
      Rows x(2 * n, k);
      for (int64_t t = 0; t < 2 * n; ++t) {
        for (int64_t i = 0; i < k; ++i) x.view().row(t)[i] = (w.row(0, t / 2)[i] < 0) == (t % 2 == 0) ? -1.0f : 1.0f;
      }
      for (const auto& [first, count] :
           {std::pair{int64_t(0), 2 * n}, {int64_t(0), int64_t(1)}, {int64_t(1), int64_t(2)}}) {
        Bed bed(*ops, limits_for(count, n, k));
        Rows y(2 * n, n);
        ops->matmul(bed.exec(), w.view, x.view().slice(first, count), y.view().slice(first, count));
        double error = INFINITY;
        for (const Stored how : ways_of(*ops, format.id)) {
          const TestWeight used = how == Stored::int8 ? as_multiplied(*ops, w, 40) : w;  // weights 1 of codes for 64
          Worst worst;
          for (int64_t t = first; t < first + count; ++t) {
            const std::vector<float> row = stored(x[t], k, how);
            for (int64_t i = 0; i < n; ++i) {
              const Sum sum = stored_dot(used.row(0, i), row, how);
              worst.see(y[t][i], sum.value, sum.magnitude + kTiny);
            }
          }
          error = std::min(error, worst.error);
        }
        CHECK(error <= kTolerance);
      }
    }
  }
}

// NaN in a weight makes its row NaN and no other, even where the activation is zero; zeros, subnormals and scales at
// the ends of their range are numbers like the rest.
TEST_CASE("matmul: every code of F8_E4M3") {
  const Format& format = format_of(FormatId::f8_e4m3);
  const int64_t n = 11, k = 3 * 128;
  std::vector<std::byte> bytes(format.bytes(k) * n);
  std::vector<bool> nan(n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t b = 0; b < 3; ++b) {
      std::byte* block = bytes.data() + format.bytes(k) * i + format.block_bytes * b;
      const float d = i == 5 ? 0.0f : i == 6 ? 0x1p-140f : i == 7 ? 0x1p80f : 0.37f * float(b + 1);
      std::memcpy(block, &d, 4);
      for (int j = 0; j < 128; ++j) {
        int code = (37 * j + 11 * int(i) + 128 * int(b)) % 256;          // every code
        if (i == 1) code = code % 8 + code / 128 * 128;                  // zeros and subnormals
        if (i == 2) code = code / 128 * 128;                             // zeros
        if (i == 4 || i == 8) code = code % 128 / 8 == 0 ? 0xb1 : code;  // neither, but for the NaN
        if (code % 128 == 127) code = 0x7e - int(i);                     // the largest numbers
        if (i == 3 && b == 2 && j == 127) code = 0x7f;                   // the last weight
        if (i == 4 && b == 1 && j == 0) code = 0xff;
        if (i == 9 && b == 0 && j == 77) code = 0x7f;  // where the activation is zero
        nan[i] = nan[i] || code % 128 == 127;
        block[4 + j] = std::byte(code);
      }
    }
  }
  const TestWeight w = TestWeight::of_bytes(format, n, k, bytes);
  for (const Ops* ops : available_tables()) {
    for (const int64_t T : {1, 2, 3, 4, 9, 40}) {
      CAPTURE(name_of(ops));
      CAPTURE(T);
      Rng rng(12);
      Bed bed(*ops, limits_for(T, n, k));
      Rows x = Rows::random(rng, T, k), y(T, n);
      for (int64_t t = 0; t < T; ++t) x.view().row(t)[77] = 0;
      ops->matmul(bed.exec(), w.view, x.view(), y.view());
      double error = INFINITY;
      int64_t wrong_nans = 0;
      for (const Stored how : ways_of(*ops, format.id)) {
        Worst worst;
        for (int64_t t = 0; t < T; ++t) {
          const std::vector<float> row = stored(x[t], k, how);
          for (int64_t i = 0; i < n; ++i) {
            wrong_nans += std::isnan(y[t][i]) != nan[i];
            if (nan[i]) continue;
            const Sum sum = stored_dot(w.row(0, i), row, how);
            worst.see(y[t][i], sum.value, sum.magnitude + kTiny);
          }
        }
        error = std::min(error, worst.error);
      }
      CHECK(wrong_nans == 0);
      CHECK(error <= kTolerance);
    }
  }
}

// A scale that is zero, subnormal or large is a number like others, also with huge activations; one that is NaN makes
// its row NaN and no other, also with activations of zero.
TEST_CASE("matmul: scales and activations at the ends of their range") {
  const struct {
    FormatId id;
    size_t scale_at;
    int64_t k;
  } formats[] = {{FormatId::q4_k, 0, 512},  {FormatId::q5_k, 0, 256},  {FormatId::q6_k, 208, 512},
                 {FormatId::q2_k, 80, 256}, {FormatId::q8_0, 0, 288},  {FormatId::q5_0, 0, 288},
                 {FormatId::q4_1, 0, 320},  {FormatId::iq4_xs, 0, 256}};
  const uint16_t scales[] = {0x2001, 0x0000, 0x0001, 0x63d0, 0x7e00, 0x2001};  // in fp16; row 4's is NaN
  const int64_t n = 6, nan = 4;
  const auto tables = available_tables();
  for (const auto& f : formats) {
    const Format& format = format_of(f.id);
    Rng rng(uint32_t(f.id) + 17);
    const TestWeight random = TestWeight::gaussian(rng, format, 1, n, f.k, 0.02f);
    const std::byte* const first = static_cast<const std::byte*>(random.view.data);
    std::vector<std::byte> bytes(first, first + random.view.row_bytes * n);
    for (int64_t i = 0; i < n; ++i) {
      for (size_t at = f.scale_at; at < random.view.row_bytes; at += format.block_bytes) {
        std::memcpy(&bytes[size_t(i) * random.view.row_bytes + at], &scales[i], 2);
      }
    }
    const TestWeight w = TestWeight::of_bytes(format, n, f.k, bytes);
    for (const Ops* ops : tables) {
      for (const int64_t T : {1, 3, 5, 7, 97}) {
        CAPTURE(name_of(ops));
        CAPTURE(name_of(f.id));
        CAPTURE(T);
        Bed bed(*ops, limits_for(T, n, f.k));
        Rows x = Rows::random(rng, T, f.k), y(T, n);
        for (int64_t i = 0; i < f.k; ++i) {
          x.view().row(T / 2)[i] *= 1e30f;
          if (T > 1) x.view().row(0)[i] = 0;
        }
        ops->matmul(bed.exec(), w.view, x.view(), y.view());
        double error = INFINITY;
        int64_t wrong_nans = 0;
        for (const Stored how : ways_of(*ops, f.id)) {
          const TestWeight used = how == Stored::int8 ? as_multiplied(*ops, w) : w;
          Worst worst;
          for (int64_t t = 0; t < T; ++t) {
            const std::vector<float> row = stored(x[t], f.k, how);
            for (int64_t i = 0; i < n; ++i) {
              wrong_nans += std::isnan(y[t][i]) != (i == nan);
              if (i == nan) continue;
              const Sum sum = stored_dot(used.row(0, i), row, how);
              worst.see(y[t][i], sum.value, sum.magnitude + kTiny);
            }
          }
          error = std::min(error, worst.error);
        }
        CHECK(wrong_nans == 0);
        CHECK(error <= kTolerance);
      }
    }
  }
}

// So small that 1 / weight is infinite.
TEST_CASE("matmul: weights of 2^-125 times activations of 1e30") {
  const Format& format = format_of(FormatId::mxfp4);
  const int64_t n = 3, k = 288, T = 97;
  std::vector<std::byte> bytes(format.bytes(k) * n, std::byte(0x62));  // 4 and 1, times the scale
  for (size_t at = 0; at < bytes.size(); at += format.block_bytes) bytes[at] = std::byte(2);
  const TestWeight w = TestWeight::of_bytes(format, n, k, bytes);
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rows x(T, k), y(T, n);
    for (int64_t t = 0; t < T; ++t) std::fill_n(x.view().row(t), k, 1e30f);
    Bed bed(*ops, limits_for(T, n, k));
    ops->matmul(bed.exec(), w.view, x.view(), y.view());
    Worst worst;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t i = 0; i < n; ++i) {
        const double sum = dot(w.row(0, i), x[t], k).value;
        worst.see(y[t][i], sum, sum);
      }
    }
    CHECK(worst.error < 0.02);  // in 8 bits
  }
}

TEST_CASE("matmul: one token more than many whole tiles") {
  for (const Ops* ops : available_tables()) {
    for (const FormatId id : {FormatId::q8_0, FormatId::q5_0}) {
      CAPTURE(name_of(ops));
      CAPTURE(name_of(id));
      Rng rng(18);
      const TestWeight w = TestWeight::gaussian(rng, format_of(id), 1, 2, 32, 0.02f);
      std::optional<TestWeight> rounded;
      check_matmul(*ops, w, 4097, rng, rounded);
    }
  }
}

// Random bytes leave few blocks without a zero, a subnormal or NaN, but weights of a model most.
TEST_CASE("matmul: Gaussian weights, every format, every table") {
  for (const Ops* ops : available_tables()) {
    for (const Format& format : all_formats()) {
      CAPTURE(name_of(ops));
      CAPTURE(name_of(format.id));
      Rng rng(uint32_t(format.id) + 13);
      const TestWeight w = TestWeight::gaussian(rng, format, 1, 37, 1536, 0.02f);
      std::optional<TestWeight> rounded;
      for (const int64_t T : {1, 2, 4, 11, 130}) check_matmul(*ops, w, T, rng, rounded);
    }
  }
}

TEST_CASE("matmul: decoders agree with the table of formats bit for bit") {
  for (const Ops* ops : available_tables()) {
    for (const Format& format : all_formats()) {
      bool comparable = true;  // where weights or activations lose bits: see the sums above
      for (const Stored how : ways_of(*ops, format.id)) comparable &= how == Stored::exact || how == Stored::bf16_x;
      if (!comparable) continue;
      CAPTURE(name_of(ops));
      CAPTURE(name_of(format.id));
      Rng rng(uint32_t(format.id) + 5);
      const int64_t n = 13, k = std::max<int64_t>(format.block_elems, 24);
      const TestWeight w = TestWeight::random_bytes(rng, format, 1, n, k);
      // With unit vectors for tokens the product is W itself, and no sum rounds.
      std::vector<float> unit(k * k, 0.0f);
      for (int64_t i = 0; i < k; ++i) unit[i * k + i] = 1.0f;
      Bed bed(*ops, limits_for(k, n, k));
      Rows y(k, n);
      int64_t differing = 0;
      ops->matmul(bed.exec(), w.view, {unit.data(), k, k}, y.view());
      for (int64_t t = 0; t < k; ++t) {
        for (int64_t i = 0; i < n; ++i) differing += y[t][i] != w.row(0, i)[t];
      }
      CHECK(differing == 0);
      // One token at a time: the path of decode.
      for (int64_t t = 0; t < k; ++t) {
        ops->matmul(bed.exec(), w.view, {unit.data() + t * k, 1, k}, y.view().slice(t, 1));
        for (int64_t i = 0; i < n; ++i) differing += y[t][i] != w.row(0, i)[t];
      }
      CHECK(differing == 0);
    }
  }
}

// Where few tokens and many are multiplied in different orders, the split does not matter only within each of them.
// Fewer than 3 are few everywhere.
TEST_CASE("matmul: the same bits for any number of threads and any split of the tokens") {
  for (const Ops* ops : available_tables()) {
    for (const Format& format : all_formats()) {
      CAPTURE(name_of(ops));
      CAPTURE(name_of(format.id));
      Rng rng(3);
      const int64_t n = 101, k = 768, T = 19, many = 130;  // where weights of few bits are rounded
      const TestWeight w = TestWeight::random_bytes(rng, format, 1, n, k);
      const Rows x = Rows::random(rng, many, k);
      Bed bed(*ops, limits_for(many, n, k), 1);
      const auto run = [&](Bed& on, int64_t n_tokens) {
        Rows y(n_tokens, n);
        ops->matmul(on.exec(), w.view, x.view().slice(0, n_tokens), y.view());
        return y;
      };
      const Rows one = run(bed, T), many_by_one = run(bed, many);
      for (const int threads : {2, 3}) {
        Bed other(*ops, limits_for(many, n, k), threads);
        CHECK(run(other, T).same_bits(one));
        CHECK(run(other, many).same_bits(many_by_one));
      }
      const bool any_split = same_for_any_tokens(*ops, format.id);
      const int64_t whole = any_split ? T : 2;
      Rows at_once(whole, n), split(whole, n);
      ops->matmul(bed.exec(), w.view, x.view().slice(0, whole), at_once.view());
      for (const auto& [first, count] : {std::pair{0, 1}, {1, 2}, {3, 2}, {5, 5}, {10, 9}}) {
        if (first >= whole) break;
        const int64_t n_tokens = std::min<int64_t>(count, whole - first);
        ops->matmul(bed.exec(), w.view, x.view().slice(first, n_tokens), split.view().slice(first, n_tokens));
      }
      CHECK(split.same_bits(at_once));
      if (any_split) CHECK(at_once.same_bits(one));
    }
  }
}

TEST_CASE("matmul_pair: the bits of two products, of one format or two") {
  for (const Ops* ops : available_tables()) {
    for (const auto& [a_id, b_id] : {std::pair{FormatId::q4_k, FormatId::q4_k},
                                     {FormatId::q8_0, FormatId::bf16},
                                     {FormatId::f32, FormatId::q6_k}}) {
      for (const auto& [n, m] : {std::pair{70, 33}, {1, 300}, {640, 7}}) {
        for (const int64_t T : {1, 3, 40}) {
          CAPTURE(name_of(ops));
          CAPTURE(name_of(a_id));
          CAPTURE(name_of(b_id));
          CAPTURE(n);
          CAPTURE(m);
          CAPTURE(T);
          Rng rng(5);
          const int64_t k = 512;
          const TestWeight a = TestWeight::random_bytes(rng, format_of(a_id), 1, n, k),
                           b = TestWeight::random_bytes(rng, format_of(b_id), 1, m, k);
          const Rows x = Rows::random(rng, T, k);
          const ScratchLimits limits = limits_for(T, std::max(n, m), k);
          Rows expected_a(T, n), expected_b(T, m);
          Bed bed(*ops, limits);
          ops->matmul(bed.exec(), a.view, x.view(), expected_a.view());
          ops->matmul(bed.exec(), b.view, x.view(), expected_b.view());
          for (const int threads : {1, 2, 5}) {
            Rows y_a(T, n), y_b(T, m);
            Bed own(*ops, limits, threads);
            ops->matmul_pair(own.exec(), a.view, b.view, x.view(), y_a.view(), y_b.view());
            CHECK(y_a.same_bits(expected_a));
            CHECK(y_b.same_bits(expected_b));
            CHECK((y_a.clean() && y_b.clean() && own.scratch_kept()));
          }
        }
      }
    }
  }
}

TEST_CASE("matmul_heads: one matrix per head, heads anywhere in a row") {
  for (const Ops* ops : available_tables()) {
    for (const FormatId id : {FormatId::f32, FormatId::f16, FormatId::q5_0, FormatId::q8_0}) {
      for (const int64_t T : {1, 2, 9, 40}) {
        CAPTURE(name_of(ops));
        CAPTURE(name_of(id));
        CAPTURE(T);
        Rng rng(4);
        const int64_t H = 5, n = 21, k = 32;
        const TestWeight w = TestWeight::random_bytes(rng, format_of(id), H, n, k);
        Rows x = Rows::random(rng, T, H * (k + 7));  // each head is followed by 7 values of something else
        Rows y(T, H * n);
        ScratchLimits limits = limits_for(T, n, k);
        limits.n_heads = H;
        limits.kv_lora_rank = k;
        Bed bed(*ops, limits);
        ops->matmul_heads(bed.exec(), w.view, x.heads(H, k, 0, k + 7), y.heads(H, n));
        double error = INFINITY;
        for (const Stored how : ways_of(*ops, id)) {
          const TestWeight used = how == Stored::int8 ? as_multiplied(*ops, w) : w;
          Worst worst;
          for (int64_t t = 0; t < T; ++t) {
            for (int64_t h = 0; h < H; ++h) {
              const std::vector<float> row = stored(x[t] + h * (k + 7), k, how);
              for (int64_t i = 0; i < n; ++i) {
                const Sum sum = stored_dot(used.row(h, i), row, how);
                worst.see(y[t][h * n + i], sum.value, sum.magnitude + kTiny);
              }
            }
          }
          error = std::min(error, worst.error);
        }
        CHECK(error <= kTolerance);
        CHECK(y.clean());
        CHECK(bed.scratch_kept());
      }
    }
  }
}

TEST_CASE("embed: rows of the table, whatever its format") {
  for (const Ops* ops : available_tables()) {
    for (const Format& format : all_formats()) {
      CAPTURE(name_of(ops));
      CAPTURE(name_of(format.id));
      Rng rng(6);
      const int64_t k = std::max<int64_t>(format.block_elems, 10);
      const TestWeight w = TestWeight::random_bytes(rng, format, 1, 7, k);
      const int32_t tokens[] = {6, 0, 3, 3};
      Bed bed(*ops, limits_for(4, k, k));
      Rows x(4, k);
      ops->embed(bed.exec(), w.view, tokens, x.view());
      for (int t = 0; t < 4; ++t) CHECK(std::memcmp(x[t], w.row(0, tokens[t]), size_t(k) * 4) == 0);
      CHECK(x.clean());
    }
  }
}
