// absorbed_attend with integer weights over a bfloat16 cache: attention in integers where a table has it
// (latent_integers.h), in float32 or on the tile unit elsewhere. What attends are the queries W^UK q, which the
// operation leaves behind, so its weighted latents are compared with the formula in double, free of what W^UK and W^UV
// round: at the ends of the integers' range, with numbers that are none, and with themselves when threads or the split
// of the tokens change.
#include <tuple>

#include "tests/kernels/cpu/integer_problem.h"

using namespace hearth;
using namespace hearth::test;

namespace {

bool absorbs_in_integers(const Ops& ops) {
#ifdef __x86_64__
  return std::string(ops.name) == "avx512" && __builtin_cpu_supports("avx512vnni");
#else
  (void)ops;
  return false;
#endif
}

// Of a problem's largest output, with scores of a few units. (The AMX table keeps 16 significant bits.)
double tolerance(const Ops& ops) {
  return absorbs_in_integers(ops) ? 1e-3 : 2e-5;
}

struct Found {
  Rows q_c, o_c;  // [T, H r]
};

struct Problem : IntegerProblem {
  Problem(const Shapes& s, int64_t pos0, int64_t T, FormatId id = FormatId::q8_0, int page_bits = kPageBits)
      : IntegerProblem(Rng(1), s, pos0, T, id, page_bits) {}

  // Makes W^UK q what every product makes of it, of one token or of many: queries that 8 bits hold, each number times a
  // weight.
  void copy_queries() {
    Rng rng(5);
    scale /= 73;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t h = 0; h < s.H; ++h) {
        for (int64_t j = 0; j < s.nope; ++j) query(t, h)[j] = j == 0 ? 127.0f : float(int(rng() % 255)) - 127;
        for (int64_t j = s.nope; j < s.nope + s.dr; ++j) query(t, h)[j] *= 73;
      }
    }
    std::vector<float> row(size_t(s.nope));
    for (int64_t i = 0; i < s.H * s.r; ++i) {
      row[size_t(i * 7 % s.nope)] = 1;
      k_b.view.format->encode(row.data(), nullptr, k_b.bytes.data() + i * k_b.view.row_bytes, s.nope);
      row[size_t(i * 7 % s.nope)] = 0;
    }
  }

  // Tokens [first, first + n) into the same rows of `found`.
  void run(const Ops& ops, int64_t first, int64_t n, int threads, Found& found) {
    Bed bed(ops, attention_limits(s, n, cache.table.n_rows()), threads);
    Rows o(n, s.H * s.v);
    const int64_t width = s.nope + s.dr;
    ops.absorbed_attend(bed.exec(), q.heads(s.H, s.nope, 0, width).slice(first, n),
                        q.heads(s.H, s.dr, s.nope, width).slice(first, n), k_b.view, v_b.view, cache.view,
                        Standing(cache.table, pos0 + first, n).at, scale, found.q_c.heads(s.H, s.r).slice(first, n),
                        found.o_c.heads(s.H, s.r).slice(first, n), o.heads(s.H, s.v));
    CHECK(bed.scratch_kept());
  }
  Found run(const Ops& ops, int threads = 2) {
    Found found = {Rows(T, s.H * s.r), Rows(T, s.H * s.r)};
    run(ops, 0, T, threads, found);
    return found;
  }

  // The error of all results as a share of the largest; `rms`: their roots of mean squares instead.
  double error_of(const Found& found, bool rms = false) const {
    Rows latent(1, s.r + s.dr, 0);
    double off = 0, all = 0, most_off = 0, most = 0;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t h = 0; h < s.H; ++h) {
        std::copy_n(found.q_c[t] + h * s.r, s.r, latent.view().row(0));
        std::copy_n(q[t] + h * (s.nope + s.dr) + s.nope, s.dr, latent.view().row(0) + s.r);
        const std::vector<double> expected = absorbed(latent, 0, 0, cache, pos0 + t + 1, scale);
        for (int64_t c = 0; c < s.r; ++c) {
          const double d = std::abs(found.o_c[t][h * s.r + c] - expected[size_t(c)]);
          if (!(d <= most_off)) most_off = d;  // a NaN too
          most = std::max(most, std::abs(expected[size_t(c)]));
          off += d * d;
          all += expected[size_t(c)] * expected[size_t(c)];
        }
      }
    }
    return rms ? std::sqrt(off / all) : most_off / most;
  }
};

}  // namespace

TEST_CASE("integer absorbed attention: the formula, for awkward shapes") {
  const Shapes small{1, 32, 6, 32, 9};
  for (const auto& [s, pos0, T] : {std::tuple{Shapes{3, 64, 8, 32, 40}, 0, 1},
                                   {{16, 96, 16, 64, 33}, 42, 5},
                                   {{17, 160, 10, 32, 16}, 110, 37},  // two batches, which end inside a tile
                                   {{128, 32, 5, 32, 9}, 126, 5},
                                   {{300, 32, 32, 32, 9}, 254, 2},
                                   {small, 0, 127},
                                   {small, 127, 1},
                                   {small, 128, 1},
                                   {small, 255, 300},
                                   {small, 8190, 4},  // from 8193 on pieces are longer
                                   {small, 16500, 1},
                                   {{2, 544, 64, 288, 80}, 600, 3}}) {
    for (const FormatId id : {FormatId::q8_0, FormatId::q4_0}) {
      CAPTURE(name_of(id));
      CAPTURE(s.H);
      CAPTURE(s.r);
      CAPTURE(pos0);
      CAPTURE(T);
      Problem problem(s, pos0, T, id);
      for (const Ops* ops : available_tables()) {
        CAPTURE(name_of(ops));
        const double error = problem.error_of(problem.run(*ops));
        CHECK(error <= tolerance(*ops));
        // As the tables are said to compute; one position, or very many, leave no error.
        if (T + pos0 > 1 && pos0 < 10000) CHECK((error > 2e-5) == absorbs_in_integers(*ops));
      }
    }
  }
}

TEST_CASE("integer absorbed attention: float weights and other caches are attended in floats") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Problem problem({3, 64, 8, 32, 40}, 200, 3, FormatId::bf16);
    CHECK(problem.error_of(problem.run(*ops)) <= 2e-5);
  }
}

TEST_CASE("integer absorbed attention: the same bits for any number of threads and any split of the tokens") {
  for (const Ops* ops : available_tables()) {
    for (const auto& [pos0, H] : {std::pair{0, 3}, {560, 9}, {8170, 2}}) {
      CAPTURE(name_of(ops));
      CAPTURE(pos0);
      Problem problem({H, 64, 8, 32, 24}, pos0, 41);
      problem.copy_queries();
      const Found whole = problem.run(*ops, 1);
      for (const int threads : {2, 3, 9}) CHECK(problem.run(*ops, threads).o_c.same_bits(whole.o_c));
      Found found = {Rows(41, H * 64), Rows(41, H * 64)};
      for (const auto& [first, n] : {std::pair{0, 1}, {1, 4}, {5, 36}}) problem.run(*ops, first, n, 2, found);
      CHECK(found.q_c.same_bits(whole.q_c));
      CHECK(found.o_c.same_bits(whole.o_c));
    }
  }
}

TEST_CASE("integer absorbed attention: one token of each of several sequences, with the bits that each has alone") {
  constexpr int64_t kLengths[] = {1, 300, 64, 1100, 17, 65};
  const int64_t B = std::size(kLengths), stride = 20;
  Problem problem({5, 64, 32, 32, 20}, 2048 - B, B);
  problem.copy_queries();
  const Shapes& s = problem.s;
  std::vector<int32_t> ids, sequences, pages(size_t(B * stride), -1);
  for (int64_t i = 0; i < B; ++i) {  // sequences of one pool, which share pages
    ids.push_back(int32_t(kLengths[i] - 1));
    sequences.push_back(int32_t(B - 1 - i));
    std::copy_n(problem.cache.table.pages.begin() + i, (kLengths[i] + 63) / 64, pages.begin() + (B - 1 - i) * stride);
  }
  const Positions at = {ids.data(), sequences.data(), pages.data(), stride, kPageBits, false, 2048};
  const int64_t width = s.nope + s.dr;
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Found together = {Rows(B, s.H * s.r), Rows(B, s.H * s.r)}, alone = together;
    Rows o(B, s.H * s.v);
    Bed bed(*ops, attention_limits(s, B, 2048), 2);
    const auto run = [&](int64_t first, int64_t n, Found& found) {
      Positions own = at.from(first);
      own.together = n == 1;
      ops->absorbed_attend(bed.exec(), problem.q.heads(s.H, s.nope, 0, width).slice(first, n),
                           problem.q.heads(s.H, s.dr, s.nope, width).slice(first, n), problem.k_b.view,
                           problem.v_b.view, problem.cache.view, own, problem.scale,
                           found.q_c.heads(s.H, s.r).slice(first, n), found.o_c.heads(s.H, s.r).slice(first, n),
                           o.heads(s.H, s.v).slice(first, n));
    };
    run(0, B, together);
    for (int64_t i = 0; i < B; ++i) run(i, 1, alone);
    CHECK(together.q_c.same_bits(alone.q_c));
    CHECK(together.o_c.same_bits(alone.o_c));
  }
}

TEST_CASE("integer absorbed attention: chosen rows, listed one by one, are pages of one position") {
  Problem listed({16, 64, 32, 32, 20}, 299, 1, FormatId::q8_0, 0), paged({16, 64, 32, 32, 20}, 299, 1);
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    CHECK(listed.run(*ops).o_c.same_bits(paged.run(*ops).o_c));
  }
}

// Sums of products that left 32 bits would change sign.
TEST_CASE("integer absorbed attention: vectors of one direction, and columns of one sign, at the end of their range") {
  for (const float sign : {1.0f, -1.0f}) {
    // Columns that are not zero, and numbers with which their integers are nearly as long as may be.
    for (const auto& [n_ones, full] : {std::pair{256, 1.9921875f}, {1, 1.9921875f}, {3, 1.1484375f}}) {
      CAPTURE(sign);
      CAPTURE(n_ones);
      Problem problem({1, 512, 64, 128, 128}, 300, 2);
      std::vector<float> row(576, 0.0f);
      for (int64_t i = 0; i < n_ones; ++i) row[size_t(i)] = sign * full;
      for (int64_t i = 0; i < std::min(n_ones, 64); ++i) row[size_t(512 + i)] = sign * full;
      const std::vector<float> ones(128, 1.0f), zeros(128, 0.0f);
      TestWeight& w = problem.k_b;
      for (int64_t i = 0; i < 512; ++i) {
        w.view.format->encode((i < n_ones ? ones : zeros).data(), nullptr, w.bytes.data() + i * w.view.row_bytes, 128);
      }
      for (int64_t t = 0; t < 2; ++t) {
        std::fill_n(problem.query(t, 0), 128, 1.0f);
        for (int64_t i = 0; i < 64; ++i) problem.query(t, 0)[128 + i] = i < n_ones ? 128.0f : 0.0f;
      }
      // Scores of a few units, of rows that differ; then weights that are all alike, of rows that are.
      for (const bool differ : {true, false}) {
        CAPTURE(differ);
        problem.scale = differ ? 3 / (128 * full * float(n_ones)) : 1e-6f;
        for (int64_t p = 0; p < 302; ++p) {
          std::vector<float> own = row;
          for (float& x : own) x *= differ && p % 2 != 0 ? -0.5f : 1.0f;
          problem.set_row(p, own);
        }
        for (const Ops* ops : available_tables()) {
          CAPTURE(name_of(ops));
          CHECK(problem.error_of(problem.run(*ops)) <= tolerance(*ops));
        }
      }
    }
  }
}

// Naive attention in integers, of the same sizes, wants the same (integer_attention_test.cpp).
TEST_CASE("integer absorbed attention: far scores and outliers, as roots of mean squares") {
  for (const bool outliers : {false, true}) {
    for (const float spread : {1.0f, 20.0f}) {
      CAPTURE(outliers);
      CAPTURE(spread);
      Problem problem({2, 512, 64, 128, 128}, 197, 3);
      if (outliers) {
        for (int64_t p = 0; p < 200; ++p) {
          std::vector<float> row = problem.row(p);
          for (const int64_t i : {3, 200, 511, 520}) row[size_t(i)] *= 50;
          problem.set_row(p, row);
        }
      }
      problem.scale = spread / (std::sqrt(192.0f) * (outliers ? 4 : 1));
      for (const Ops* ops : available_tables()) {
        CAPTURE(name_of(ops));
        const double error = problem.error_of(problem.run(*ops), true);
        CAPTURE(error);
        CHECK(error < (absorbs_in_integers(*ops) ? spread > 1 ? 4e-3 : 5e-4 : 2e-5 * spread));
      }
    }
  }
}

TEST_CASE("integer absorbed attention: zeros give zeros, or the mean of the values") {
  Problem problem({3, 64, 8, 32, 24}, 150, 4);
  for (int64_t t = 0; t < 4; ++t) std::fill_n(problem.query(t, 1), 40, 0.0f);
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    CHECK(problem.error_of(problem.run(*ops)) <= tolerance(*ops));
  }
  for (int64_t p = 0; p < 154; ++p) problem.set_row(p, std::vector<float>(72, 0.0f));
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    const Rows o = problem.run(*ops).o_c;
    for (int64_t t = 0; t < 4; ++t) CHECK(std::all_of(o[t], o[t] + 3 * 64, [](float x) { return x == 0; }));
  }
}

TEST_CASE("integer absorbed attention: huge and tiny numbers") {
  // A row of the cache, its latent alone, or a query, times `size`: a softmax that picks one position, or a position
  // that counts little.
  for (const float size : {1e30f, -1e30f, 1e37f, 1e-30f, 1e-38f}) {
    for (const int what : {0, 1, 2}) {
      if (what == 2 && std::abs(size) > 1e36f) continue;
      CAPTURE(size);
      CAPTURE(what);
      Problem problem({3, 64, 8, 32, 24}, 150, 4);
      if (what == 2) {
        for (int64_t i = 0; i < 40; ++i) problem.query(2, 1)[i] *= size;
      } else {
        std::vector<float> row = problem.row(50);
        for (size_t i = 0; i < (what == 0 ? 72 : 64); ++i) row[i] *= size;
        problem.set_row(50, row);
      }
      for (const Ops* ops : available_tables()) {
        CAPTURE(name_of(ops));
        CHECK(problem.error_of(problem.run(*ops)) <= 2e-3);
      }
    }
  }
}

TEST_CASE("integer absorbed attention: what is no number spoils those who see it, and no others") {
  for (const float bad : {kNan, kInf, -kInf}) {
    CAPTURE(bad);
    Problem problem({3, 64, 8, 32, 24}, 150, 4);
    std::vector<Rows> clean;
    const std::vector<const Ops*> tables = available_tables();
    for (const Ops* ops : tables) clean.push_back(problem.run(*ops).o_c);

    float& of_query = problem.query(2, 1)[39];  // of its rope part
    const float good = of_query;
    of_query = bad;
    for (size_t i = 0; i < tables.size(); ++i) {
      CAPTURE(name_of(tables[i]));
      const Rows o = problem.run(*tables[i]).o_c;
      for (int64_t t = 0; t < 4; ++t) {
        for (int64_t h = 0; h < 3; ++h) {
          CHECK((t == 2 && h == 1 ? is_nan(o, problem.s.r, t, h) : same(o, clean[i], problem.s.r, t, h)));
        }
      }
    }
    of_query = good;

    for (const int64_t column : {7, 66}) {  // of the latent and of the rope part
      const std::vector<float> before = problem.row(152);
      std::vector<float> row = before;
      row[size_t(column)] = bad;
      problem.set_row(152, row);
      for (size_t i = 0; i < tables.size(); ++i) {
        if (!absorbs_in_integers(*tables[i])) continue;  // in floats an infinite key may be one that is not looked at
        CAPTURE(name_of(tables[i]));
        const Rows o = problem.run(*tables[i]).o_c;
        for (int64_t h = 0; h < 3; ++h) {
          for (const int64_t t : {2, 3}) CHECK(is_nan(o, problem.s.r, t, h));
          for (const int64_t t : {0, 1}) CHECK(same(o, clean[i], problem.s.r, t, h));
        }
      }
      problem.set_row(152, before);
    }
  }
}
