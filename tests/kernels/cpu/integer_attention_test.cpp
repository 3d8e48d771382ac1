// mha_attend with integer weights over a bfloat16 cache: attention in integers where a table has it
// (attend_integers.h), in float32 elsewhere. Against the formula in double, at the ends of the integers' range, with
// numbers that are none, and against itself when threads or the split of the tokens change.
#include <tuple>

#include "tests/kernels/cpu/integer_problem.h"

using namespace hearth;
using namespace hearth::test;

namespace {

bool in_integers(const Ops& ops) {
#ifdef __x86_64__
  const std::string table = ops.name;
  return (table == "avx512" || table == "amx") && __builtin_cpu_supports("avx512vnni");
#else
  (void)ops;
  return false;
#endif
}

// Of a problem's largest output, with scores of a few units.
double tolerance(const Ops& ops) {
  return in_integers(ops) ? 1e-3 : 5e-6;
}

struct Problem : IntegerProblem {
  Problem(const Shapes& s, int64_t pos0, int64_t T, FormatId id = FormatId::q8_0, unsigned seed = 1)
      : IntegerProblem(Rng(seed), s, pos0, T, id) {}

  Rows run(const Ops& ops, int threads = 2) { return run_mha(ops, s, q, k_b, v_b, cache, pos0, scale, threads); }
  // The same where outputs may be no numbers.
  Rows run_spoiled(const Ops& ops, Rows& queries) {
    const int64_t width = s.nope + s.dr;
    Rows o(T, s.H * s.v);
    Bed bed(ops, attention_limits(s, T, cache.table.n_rows()));
    ops.mha_attend(bed.exec(), queries.heads(s.H, s.nope, 0, width), queries.heads(s.H, s.dr, s.nope, width), k_b.view,
                   v_b.view, cache.view, Standing(cache.table, pos0, T).at, scale, o.heads(s.H, s.v));
    return o;
  }
  // [H][T][v]
  std::vector<std::vector<double>> expected() const {
    std::vector<std::vector<double>> out;
    for (int64_t h = 0; h < s.H; ++h) {
      const Expanded head(s, h, k_b, v_b, cache, pos0 + T);
      for (int64_t t = 0; t < T; ++t) out.push_back(naive(q, t, h, s, head, cache, pos0 + t + 1, scale));
    }
    return out;
  }
};

// The largest error of a table, as a share of the largest output.
double error_of(const Rows& o, const Problem& p, const std::vector<std::vector<double>>& expected) {
  Worst worst;
  double largest = 0;
  for (const auto& head : expected) {
    for (const double x : head) largest = std::max(largest, std::abs(x));
  }
  for (int64_t i = 0; i < p.s.H * p.T; ++i) {
    for (int64_t j = 0; j < p.s.v; ++j) worst.see(o[i % p.T][i / p.T * p.s.v + j], expected[i][j], largest);
  }
  return worst.error;
}

}  // namespace

TEST_CASE("integer attention: the formula, for awkward shapes") {
  const Shapes small{1, 32, 6, 32, 9};
  for (const auto& [s, pos0, T] : {std::tuple{Shapes{3, 64, 8, 32, 40}, 0, 1},
                                   {{16, 96, 16, 64, 33}, 42, 5},
                                   {{17, 160, 10, 32, 16}, 10, 37},
                                   {{128, 32, 5, 32, 9}, 46, 3},
                                   {small, 0, 47},
                                   {small, 0, 48},
                                   {small, 0, 49},
                                   {small, 0, 97},
                                   {small, 288, 1},
                                   {{1, 512, 64, 128, 128}, 570, 9},
                                   {{1, 544, 64, 288, 80}, 560, 33}}) {
    for (const FormatId id : {FormatId::q8_0, FormatId::q4_0}) {
      CAPTURE(name_of(id));
      CAPTURE(s.H);
      CAPTURE(s.r);
      CAPTURE(pos0);
      CAPTURE(T);
      Problem problem(s, pos0, T, id);
      const auto expected = problem.expected();
      for (const Ops* ops : available_tables()) {
        CAPTURE(name_of(ops));
        const double error = error_of(problem.run(*ops), problem, expected);
        CHECK(error <= tolerance(*ops));
        CHECK((error > 5e-6) == in_integers(*ops));  // as the tables are said to compute
      }
    }
  }
}

TEST_CASE("integer attention: the same bits for any number of threads and any split of the tokens") {
  for (const Ops* ops : available_tables()) {
    for (const auto& [pos0, H] : {std::pair{0, 3}, {560, 9}}) {
      CAPTURE(name_of(ops));
      CAPTURE(pos0);
      Problem problem({H, 64, 8, 32, 24}, pos0, 41);
      const Shapes& s = problem.s;
      const Rows whole = problem.run(*ops, 1);
      for (const int threads : {2, 3}) CHECK(problem.run(*ops, threads).same_bits(whole));
      Rows o(problem.T, s.H * s.v);
      Bed bed(*ops, attention_limits(s, problem.T, problem.cache.table.n_rows()));
      const int64_t width = s.nope + s.dr;
      for (const auto& [first, n] : {std::pair{0, 1}, {1, 4}, {5, 36}}) {
        ops->mha_attend(bed.exec(), problem.q.heads(s.H, s.nope, 0, width).slice(first, n),
                        problem.q.heads(s.H, s.dr, s.nope, width).slice(first, n), problem.k_b.view, problem.v_b.view,
                        problem.cache.view, Standing(problem.cache.table, pos0 + first, n).at, problem.scale,
                        o.heads(s.H, s.v).slice(first, n));
      }
      CHECK(o.same_bits(whole));
    }
  }
}

// Vectors of equal numbers are those whose integers are largest together: sums that left 32 bits would change sign.
TEST_CASE("integer attention: sums of numbers that are all alike, at the end of their range") {
  for (const float sign : {1.0f, -1.0f}) {
    Problem problem({1, 512, 64, 128, 128}, 195, 2);
    for (int64_t p = 0; p < 197; ++p) problem.set_row(p, std::vector<float>(576, sign));
    for (TestWeight* w : {&problem.k_b, &problem.v_b}) {
      const int64_t k = w->view.k;
      const std::vector<float> ones(size_t(k), 1.0f);
      for (int64_t i = 0; i < w->view.count * w->view.n; ++i) {
        w->view.format->encode(ones.data(), nullptr, w->bytes.data() + i * w->view.row_bytes, k);
        w->view.format->decode(w->bytes.data() + i * w->view.row_bytes, w->floats.data() + i * k, k);
      }
    }
    for (int64_t t = 0; t < 2; ++t) std::fill_n(problem.query(t, 0), 192, 1.0f);
    problem.scale = 1e-4f;
    const auto expected = problem.expected();
    CHECK(std::abs(expected[0][0] - 512 * sign) < 0.1);
    for (const Ops* ops : available_tables()) {
      CAPTURE(name_of(ops));
      CHECK(error_of(problem.run(*ops), problem, expected) <= tolerance(*ops));
    }
  }
}

// What else rounds the queries and latents that a model with such weights computes is 8 bits.
TEST_CASE("integer attention: far scores and outliers cost less than a fifth of what activations in 8 bits do") {
  for (const bool outliers : {false, true}) {
    for (const float spread : {1.0f, 20.0f}) {
      CAPTURE(outliers);
      CAPTURE(spread);
      Problem problem({2, 512, 64, 128, 128}, 197, 3);
      Problem rounded = problem;
      const int64_t width = problem.cache.view.width();
      for (int64_t p = 0; p < 200; ++p) {
        std::vector<float> row = problem.row(p);
        if (outliers) {
          for (const int64_t i : {3, 200, 511, 520}) row[i] *= 50;
        }
        problem.set_row(p, row);
        std::copy_n(problem.cache.row(p), width, rounded.cache.floats.data() + p * width);
        const std::vector<float> c = stored(problem.cache.row(p), 512, Stored::x8);
        std::copy(c.begin(), c.end(), rounded.cache.floats.data() + p * width);
      }
      Rng rng(11);
      for (int64_t t = 0; t < 3; ++t) {
        for (int64_t h = 0; h < 2; ++h) {
          // A query's numbers are sums of many rounded ones: each is off by a Gaussian.
          for (int64_t j = 0; j < 192; ++j) rounded.query(t, h)[j] += 7e-3f * normal(rng);
        }
      }
      problem.scale = rounded.scale = spread / (std::sqrt(192.0f) * (outliers ? 4 : 1));
      const auto expected = problem.expected();
      // Of all outputs together, as a root of mean squares.
      const auto distance = [&](const auto& found) {
        double off = 0, all = 0;
        for (int64_t i = 0; i < 6; ++i) {
          for (int64_t j = 0; j < 128; ++j) {
            off += std::pow(found(i, j) - expected[i][j], 2);
            all += std::pow(expected[i][j], 2);
          }
        }
        return std::sqrt(off / all);
      };
      const auto by_rounding = rounded.expected();
      const double eight_bits = distance([&](int64_t i, int64_t j) { return by_rounding[i][j]; });
      for (const Ops* ops : available_tables()) {
        CAPTURE(name_of(ops));
        const Rows o = problem.run(*ops);
        const double error = distance([&](int64_t i, int64_t j) { return o[i % 3][i / 3 * 128 + j]; });
        CHECK(error < eight_bits / 5);
        CHECK(error < (spread > 1 ? 4e-3 : 5e-4));  // where the largest scores are 60, and 3
      }
    }
  }
}

TEST_CASE("integer attention: zeros give zeros, or the mean of the values") {
  Problem problem({3, 64, 8, 32, 24}, 100, 4);
  for (int64_t t = 0; t < 4; ++t) std::fill_n(problem.query(t, 1), 40, 0.0f);
  const auto expected = problem.expected();
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    CHECK(error_of(problem.run(*ops), problem, expected) <= tolerance(*ops));
  }
  for (int64_t p = 0; p < 104; ++p) problem.set_row(p, std::vector<float>(72, 0.0f));
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    const Rows o = problem.run(*ops);
    for (int64_t t = 0; t < 4; ++t) CHECK(std::all_of(o[t], o[t] + 72, [](float x) { return x == 0; }));
  }
}

TEST_CASE("integer attention: huge and tiny numbers") {
  // A row of the cache, or a query, times `size`: a softmax that picks one position, or a position that counts little.
  for (const float size : {1e30f, -1e30f, 1e-30f}) {
    for (const bool of_query : {false, true}) {
      CAPTURE(size);
      CAPTURE(of_query);
      Problem problem({3, 64, 8, 32, 24}, 100, 4);
      if (of_query) {
        for (int64_t i = 0; i < 40; ++i) problem.query(2, 1)[i] *= size;
      } else {
        std::vector<float> row = problem.row(50);
        for (float& x : row) x *= size;
        problem.set_row(50, row);
      }
      const auto expected = problem.expected();
      for (const Ops* ops : available_tables()) {
        CAPTURE(name_of(ops));
        const Rows o = problem.run(*ops);
        for (int64_t t = 0; t < 4; ++t) {
          for (int64_t h = 0; h < 3; ++h) {
            Worst worst;
            double largest = 0;
            for (const double x : expected[h * 4 + t]) largest = std::max(largest, std::abs(x));
            for (int64_t j = 0; j < 24; ++j) worst.see(o[t][h * 24 + j], expected[h * 4 + t][j], largest);
            CHECK(worst.error <= 2e-3);
          }
        }
      }
    }
  }
}

TEST_CASE("integer attention: what is no number spoils those who see it, and no others") {
  for (const float bad : {kNan, kInf, -kInf}) {
    CAPTURE(bad);
    Problem problem({3, 64, 8, 32, 24}, 100, 4);
    for (const Ops* ops : available_tables()) {
      CAPTURE(name_of(ops));
      const Rows clean = problem.run(*ops);
      for (const int64_t column : {7, 39}) {  // of the nope and of the rope part
        Rows queries = problem.q;
        queries.view().row(2)[40 + column] = bad;  // of head 1
        const Rows o = problem.run_spoiled(*ops, queries);
        for (int64_t t = 0; t < 4; ++t) {
          for (int64_t h = 0; h < 3; ++h)
            CHECK((t == 2 && h == 1 ? is_nan(o, problem.s.v, t, h) : same(o, clean, problem.s.v, t, h)));
        }
      }
    }
  }
}

TEST_CASE(
    "integer attention: a row of the cache that is no number spoils those who see it, and in integers no others") {
  for (const float bad : {kNan, kInf}) {
    CAPTURE(bad);
    Problem problem({3, 64, 8, 32, 24}, 100, 4);
    std::vector<Rows> clean;
    const std::vector<const Ops*> tables = available_tables();
    for (const Ops* ops : tables) clean.push_back(problem.run(*ops));
    for (const int64_t column : {7, 66}) {  // of the latent and of the rope part
      const std::vector<float> good = problem.row(102);
      std::vector<float> row = good;
      row[size_t(column)] = bad;
      problem.set_row(102, row);
      for (size_t i = 0; i < tables.size(); ++i) {
        CAPTURE(name_of(tables[i]));
        const Rows o = problem.run_spoiled(*tables[i], problem.q);
        for (int64_t h = 0; h < 3; ++h) {
          // In float32 an infinite key may be one that is not looked at, and a weight of 0 does not hide a NaN.
          if (in_integers(*tables[i]) || std::isnan(bad)) {
            for (const int64_t t : {2, 3}) CHECK(is_nan(o, problem.s.v, t, h));
          }
          if (!in_integers(*tables[i])) continue;
          for (const int64_t t : {0, 1}) CHECK(same(o, clean[i], problem.s.v, t, h));
        }
      }
      problem.set_row(102, good);
    }
  }
}
