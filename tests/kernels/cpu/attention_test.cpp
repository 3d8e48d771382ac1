// mla_attend and mha_attend against the formulas in double, against each other, and against themselves when threads or
// the split of the tokens change.
#include <tuple>

#include "tests/kernels/cpu/attention.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr Shapes kShapes[] = {{3, 32, 8, 16, 16}, {1, 20, 6, 10, 9},     {16, 64, 16, 32, 24}, {5, 128, 16, 48, 40},
                              {19, 16, 4, 8, 8},  {18, 96, 32, 16, 16},  {17, 48, 24, 8, 33},  {16, 33, 7, 15, 17},
                              {33, 24, 8, 8, 8},  {2, 50, 20, 120, 130}, {1, 160, 32, 40, 56}};
constexpr FormatId kCaches[] = {FormatId::f32, FormatId::bf16};
constexpr double kTolerance = 5e-6;  // of the largest possible output; scores are a few units, in float32

// The AMX table keeps 16 significant bits of queries and weights, where the widths suit its tiles.
double mla_tolerance(const Ops& ops) {
  return std::string(ops.name) == "amx" ? 2e-5 : kTolerance;
}

}  // namespace

TEST_CASE("mla_attend: the formula, at the start of a context and deep in it") {
  for (const Shapes& s : kShapes) {
    for (const FormatId id : kCaches) {
      for (const auto& [pos0, T] :
           {std::pair{0, 1}, {0, 5}, {15, 2}, {47, 2}, {130, 1}, {200, 33}, {613, 1}, {700, 3}}) {
        CAPTURE(name_of(id));
        CAPTURE(s.H);
        CAPTURE(s.r);
        CAPTURE(pos0);
        CAPTURE(T);
        Rng rng(1);
        const Cache cache(rng, id, pos0 + T, pos0 + T + 2, s.r, s.dr);
        Rows q = Rows::random(rng, T, s.H * (s.r + s.dr));
        const float scale = 2.0f / std::sqrt(float(s.r + s.dr));
        std::vector<std::vector<double>> expected;  // of each token's heads
        for (int64_t t = 0; t < T; ++t) {
          for (int64_t h = 0; h < s.H; ++h) expected.push_back(absorbed(q, t, h, cache, pos0 + t + 1, scale));
        }
        for (const Ops* ops : available_tables()) {
          CAPTURE(name_of(ops));
          const Rows o = run_mla(*ops, s, q, cache, pos0, scale, 2);
          Worst worst;
          for (int64_t i = 0; i < T * s.H; ++i) {
            for (int64_t c = 0; c < s.r; ++c) worst.see(o[i / s.H][i % s.H * s.r + c], expected[i][c], 1);
          }
          CHECK(worst.error <= mla_tolerance(*ops));
        }
      }
    }
  }
}

TEST_CASE("mla_attend: the published widths, deep enough to be cut into pieces") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    const Shapes s{2, 512, 64, 128, 128};
    Rng rng(2);
    const int64_t pos0 = 3000;
    const Cache cache(rng, FormatId::bf16, pos0 + 1, pos0 + 1, s.r, s.dr);
    Rows q = Rows::random(rng, 1, s.H * (s.r + s.dr));
    const Rows o = run_mla(*ops, s, q, cache, pos0, 0.1147f, 2);
    Worst worst;
    for (int64_t h = 0; h < s.H; ++h) {
      const std::vector<double> expected = absorbed(q, 0, h, cache, pos0 + 1, 0.1147f);
      for (int64_t c = 0; c < s.r; ++c) worst.see(o[0][h * s.r + c], expected[c], 1);
    }
    CHECK(worst.error <= mla_tolerance(*ops));
  }
}

TEST_CASE("mla_attend: scores far apart neither overflow nor vanish") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    const Shapes s{2, 16, 4, 8, 8};
    Rng rng(3);
    const Cache cache(rng, FormatId::f32, 600, 600, s.r, s.dr);
    Rows q = Rows::random(rng, 1, s.H * (s.r + s.dr));
    for (const float scale : {100.0f, 1e-6f}) {  // scores of several thousand: the softmax picks one row
      const Rows o = run_mla(*ops, s, q, cache, 599, scale, 2);
      Worst worst;
      for (int64_t h = 0; h < s.H; ++h) {
        const std::vector<double> expected = absorbed(q, 0, h, cache, 600, scale);
        for (int64_t c = 0; c < s.r; ++c) worst.see(o[0][h * s.r + c], expected[c], 1);
      }
      CHECK(worst.error <= (scale > 1 ? 1e-3 : 5e-6));  // a score of 1000 has a last place of 6e-5
    }
  }
}

TEST_CASE("mha_attend: the formula") {
  for (const Shapes& s : kShapes) {
    for (const FormatId id : kCaches) {
      for (const auto& [pos0, T] : {std::pair{0, 1}, {0, 7}, {3, 2}, {40, 70}, {284, 9}}) {
        CAPTURE(name_of(id));
        CAPTURE(s.H);
        CAPTURE(s.r);
        CAPTURE(pos0);
        CAPTURE(T);
        Rng rng(4);
        const float size = 1.0f / std::sqrt(float(s.r));
        const TestWeight k_b = TestWeight::gaussian(rng, format_of(FormatId::bf16), s.H, s.r, s.nope, size);
        const TestWeight v_b = TestWeight::gaussian(rng, format_of(FormatId::f16), s.H, s.v, s.r, size);
        const Cache cache(rng, id, pos0 + T, pos0 + T + 2, s.r, s.dr);
        Rows q = Rows::random(rng, T, s.H * (s.nope + s.dr));
        const float scale = 2.0f / std::sqrt(float(s.nope + s.dr));
        std::vector<std::vector<double>> expected;  // of each head's tokens
        for (int64_t h = 0; h < s.H; ++h) {
          const Expanded head(s, h, k_b, v_b, cache, pos0 + T);
          for (int64_t t = 0; t < T; ++t) {
            expected.push_back(naive(q, t, h, s, head, cache, pos0 + t + 1, scale));
          }
        }
        for (const Ops* ops : available_tables()) {
          CAPTURE(name_of(ops));
          const Rows o = run_mha(*ops, s, q, k_b, v_b, cache, pos0, scale, 2);
          Worst worst;
          for (int64_t i = 0; i < s.H * T; ++i) {
            for (int64_t j = 0; j < s.v; ++j) worst.see(o[i % T][i / T * s.v + j], expected[i][j], 1);
          }
          CHECK(worst.error <= kTolerance);
        }
      }
    }
  }
}

TEST_CASE("naive equals absorbed: mha_attend = W^UV mla_attend(W^UK q)") {
  for (const Ops* ops : available_tables()) {
    for (const FormatId id : {FormatId::f32, FormatId::q8_0}) {
      for (const auto& [pos0, T] : {std::pair{0, 40}, {290, 3}, {520, 1}}) {
        CAPTURE(name_of(ops));
        CAPTURE(name_of(id));
        CAPTURE(pos0);
        CAPTURE(T);
        const Shapes s{4, 64, 16, 32, 32};
        Rng rng(5);
        const TestWeight k_b = TestWeight::gaussian(rng, format_of(id), s.H, s.r, s.nope, 0.125f);
        const TestWeight v_b = TestWeight::gaussian(rng, format_of(id), s.H, s.v, s.r, 0.125f);
        const Cache cache(rng, FormatId::f32, pos0 + T, pos0 + T, s.r, s.dr);
        Rows q = Rows::random(rng, T, s.H * (s.nope + s.dr));
        const float scale = 0.3f;
        const Rows expanded = run_mha(*ops, s, q, k_b, v_b, cache, pos0, scale, 2);

        Rows latent(T, s.H * (s.r + s.dr), 0), o(T, s.H * s.v);
        Bed bed(*ops, attention_limits(s, T, pos0 + T));
        ops->matmul_heads(bed.exec(), k_b.view, q.heads(s.H, s.nope, 0, s.nope + s.dr),
                          latent.heads(s.H, s.r, 0, s.r + s.dr));
        for (int64_t t = 0; t < T; ++t) {
          for (int64_t h = 0; h < s.H; ++h) {
            std::copy_n(q[t] + h * (s.nope + s.dr) + s.nope, s.dr, latent.view().row(t) + h * (s.r + s.dr) + s.r);
          }
        }
        Rows o_c = run_mla(*ops, s, latent, cache, pos0, scale, 2);
        ops->matmul_heads(bed.exec(), v_b.view, o_c.heads(s.H, s.r), o.heads(s.H, s.v));
        Worst worst;
        for (int64_t t = 0; t < T; ++t) {
          for (int64_t i = 0; i < s.H * s.v; ++i) worst.see(o[t][i], expanded[t][i], 1);
        }
        // Where activations are rounded to 8 bits, the two forms round different ones.
        CHECK(worst.error <= (ways_of(*ops, id) == std::vector{Stored::exact} ? 1e-5 : 0.05));
      }
    }
  }
}

TEST_CASE("absorbed_attend: the bits of its three steps, whoever takes which heads") {
  for (const Ops* ops : available_tables()) {
    // Integer weights over a bfloat16 cache: integer_absorbed_test.cpp.
    for (const auto& [id, cached] : {std::pair{FormatId::bf16, FormatId::bf16}, {FormatId::q8_0, FormatId::f32}}) {
      // One thread takes 16 heads at a time, or groups of its own; 1100 positions are five pieces, too many for those.
      for (const auto& [H, pos0, T] :
           {std::tuple{3, 0, 1}, {3, 299, 1}, {19, 40, 1}, {40, 600, 1}, {3, 1100, 1}, {40, 1100, 1}, {5, 20, 9}}) {
        CAPTURE(name_of(ops));
        CAPTURE(name_of(id));
        CAPTURE(H);
        CAPTURE(pos0);
        CAPTURE(T);
        const Shapes s{H, 64, 32, 32, 20};
        Rng rng(8);
        const TestWeight k_b = TestWeight::gaussian(rng, format_of(id), s.H, s.r, s.nope, 0.125f);
        const TestWeight v_b = TestWeight::gaussian(rng, format_of(id), s.H, s.v, s.r, 0.125f);
        const Cache cache(rng, cached, pos0 + T, pos0 + T, s.r, s.dr);
        Rows q = Rows::random(rng, T, s.H * (s.nope + s.dr));
        const int64_t width = s.nope + s.dr;
        const auto q_nope = q.heads(s.H, s.nope, 0, width), q_rope = q.heads(s.H, s.dr, s.nope, width);
        const Standing standing(cache.table, pos0, T);
        const Positions& at = standing.at;
        Rows q_c(T, s.H * s.r), o_c(T, s.H * s.r), expected(T, s.H * s.v);
        const auto between_q = q_c.heads(s.H, s.r), between_o = o_c.heads(s.H, s.r);
        Bed bed(*ops, attention_limits(s, T, pos0 + T));
        ops->matmul_heads(bed.exec(), k_b.view, q_nope, between_q);
        ops->mla_attend(bed.exec(), between_q, q_rope, cache.view, at, 0.3f, between_o);
        ops->matmul_heads(bed.exec(), v_b.view, between_o, expected.heads(s.H, s.v));
        for (const int threads : {1, 2, 3, 7}) {
          Rows o(T, s.H * s.v);
          Bed own(*ops, attention_limits(s, T, pos0 + T), threads);
          ops->absorbed_attend(own.exec(), q_nope, q_rope, k_b.view, v_b.view, cache.view, at, 0.3f, between_q,
                               between_o, o.heads(s.H, s.v));
          CHECK(o.same_bits(expected));
          CHECK(o.clean());
          CHECK(own.scratch_kept());
        }
      }
    }
  }
}

TEST_CASE("attention: the same bits for any number of threads and any split of the tokens") {
  for (const Ops* ops : available_tables()) {
    // Nine heads are expanded in other pieces by three threads than by fewer.
    for (const auto& [pos0, H] : {std::pair{0, 3}, {600, 3}, {600, 9}}) {
      CAPTURE(name_of(ops));
      CAPTURE(pos0);
      CAPTURE(H);
      const Shapes s{H, 32, 8, 16, 16};
      const int64_t T = 21;
      Rng rng(6);
      const TestWeight k_b = TestWeight::gaussian(rng, format_of(FormatId::bf16), s.H, s.r, s.nope, 0.2f);
      const TestWeight v_b = TestWeight::gaussian(rng, format_of(FormatId::bf16), s.H, s.v, s.r, 0.2f);
      const Cache cache(rng, FormatId::bf16, pos0 + T, pos0 + T, s.r, s.dr);
      Rows q_c = Rows::random(rng, T, s.H * (s.r + s.dr)), q = Rows::random(rng, T, s.H * (s.nope + s.dr));
      const Rows mla = run_mla(*ops, s, q_c, cache, pos0, 0.3f, 1);
      const Rows mha = run_mha(*ops, s, q, k_b, v_b, cache, pos0, 0.3f, 1);
      for (const int threads : {2, 3}) {
        CHECK(run_mla(*ops, s, q_c, cache, pos0, 0.3f, threads).same_bits(mla));
        CHECK(run_mha(*ops, s, q, k_b, v_b, cache, pos0, 0.3f, threads).same_bits(mha));
      }
      Rows o_c(T, s.H * s.r), o(T, s.H * s.v);
      Bed bed(*ops, attention_limits(s, T, pos0 + T));
      for (const auto& [first, n] : {std::pair{0, 1}, {1, 4}, {5, 16}}) {
        const int64_t wide = s.r + s.dr, narrow = s.nope + s.dr;
        ops->mla_attend(bed.exec(), q_c.heads(s.H, s.r, 0, wide).slice(first, n),
                        q_c.heads(s.H, s.dr, s.r, wide).slice(first, n), cache.view,
                        Standing(cache.table, pos0 + first, n).at, 0.3f, o_c.heads(s.H, s.r).slice(first, n));
        ops->mha_attend(bed.exec(), q.heads(s.H, s.nope, 0, narrow).slice(first, n),
                        q.heads(s.H, s.dr, s.nope, narrow).slice(first, n), k_b.view, v_b.view, cache.view,
                        Standing(cache.table, pos0 + first, n).at, 0.3f, o.heads(s.H, s.v).slice(first, n));
      }
      CHECK(o_c.same_bits(mla));
      CHECK(o.same_bits(mha));
    }
  }
}

TEST_CASE("mla_attend: one token of each of several sequences, with the bits that each has alone") {
  const Shapes s{5, 64, 32, 32, 20};
  constexpr int64_t kLengths[] = {1, 300, 64, 1100, 17, 65};
  const int64_t B = std::size(kLengths), width = s.r + s.dr;
  for (const FormatId id : kCaches) {
    Rng rng(9);
    const Cache pool(rng, id, 2048, 2048, s.r, s.dr);
    // Sequences of one pool, which share pages as those do that begin alike: each begins with another one.
    const int64_t stride = 20;
    std::vector<int32_t> ids, sequences, pages(size_t(B * stride), -1);
    for (int64_t i = 0; i < B; ++i) {
      ids.push_back(int32_t(kLengths[i] - 1));
      sequences.push_back(int32_t(B - 1 - i));
      std::copy_n(pool.table.pages.begin() + i, (kLengths[i] + 63) / 64, pages.begin() + (B - 1 - i) * stride);
    }
    Rows q = Rows::random(rng, B, s.H * width);
    for (const Ops* ops : available_tables()) {
      CAPTURE(name_of(ops));
      CAPTURE(name_of(id));
      const auto q_c = q.heads(s.H, s.r, 0, width), q_rope = q.heads(s.H, s.dr, s.r, width);
      Rows together(B, s.H * s.r), alone(B, s.H * s.r);
      Bed bed(*ops, attention_limits(s, B, 2048), 2);
      const Positions at = {ids.data(), sequences.data(), pages.data(), stride, kPageBits, false, 2048};
      ops->mla_attend(bed.exec(), q_c, q_rope, pool.view, at, 0.3f, together.heads(s.H, s.r));
      for (int64_t i = 0; i < B; ++i) {
        Positions own = at.from(i);
        own.together = true;
        ops->mla_attend(bed.exec(), q_c.slice(i, 1), q_rope.slice(i, 1), pool.view, own, 0.3f,
                        alone.heads(s.H, s.r).slice(i, 1));
      }
      CHECK(together.same_bits(alone));
      CHECK(bed.scratch_kept());
    }
  }
}

TEST_CASE("mla_attend: chosen rows, listed one by one, are pages of one position") {
  const Shapes s{16, 64, 32, 32, 20};
  const int64_t n = 300;
  for (const FormatId id : kCaches) {
    Rng rng(10), same(10);
    const Cache listed(rng, id, n, n, s.r, s.dr, 0), paged(same, id, n, n, s.r, s.dr);
    Rows q = Rows::random(rng, 1, s.H * (s.r + s.dr));
    for (const Ops* ops : available_tables()) {
      CAPTURE(name_of(ops));
      CHECK(run_mla(*ops, s, q, listed, n - 1, 0.3f, 2).same_bits(run_mla(*ops, s, q, paged, n - 1, 0.3f, 2)));
    }
  }
}

// AVX-512 attends in integers in both forms, the tile unit in the naive one alone.
TEST_CASE("absorbed_speed: more than naive attention in floats on the tile unit, less than in integers") {
  const Weight floats = {.format = &format_of(FormatId::bf16)}, integers = {.format = &format_of(FormatId::q8_0)};
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    CHECK((ops->absorbed_speed != nullptr) == (std::string(ops->name) == "amx"));
    if (!ops->absorbed_speed) continue;
    CHECK(ops->absorbed_speed(integers, integers, FormatId::bf16) < 1);
    CHECK(ops->absorbed_speed(integers, integers, FormatId::f32) > 1);
    CHECK(ops->absorbed_speed(integers, floats, FormatId::bf16) > 1);
    CHECK(ops->absorbed_speed(floats, floats, FormatId::bf16) > 1);
  }
}
