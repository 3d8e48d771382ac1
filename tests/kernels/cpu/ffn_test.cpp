// ffn and moe_ffn: the formula in double, experts as a sum of single FFNs, grouping that changes nothing.
#include <memory>

#include "tests/kernels/fixture.h"
#include "tests/kernels/limits.h"
#include "tests/support/sanitized.h"

#ifdef HEARTH_AVX2
#include "kernels/cpu/amx/install.h"
#include "kernels/cpu/avx512/install.h"
#endif

using namespace hearth;
using namespace hearth::test;

namespace {

struct TestFfn {
  TestWeight gate, up, down;
  std::vector<std::shared_ptr<TestWeight>> in_8_bits = {};
  FfnWeights view() const { return {gate.view, up.view, down.view}; }

  TestFfn(Rng& rng, FormatId in, FormatId out, int64_t count, int64_t d, int64_t n)
      : gate(TestWeight::gaussian(rng, format_of(in), count, n, d, 1.0f / std::sqrt(float(d)))),
        up(TestWeight::gaussian(rng, format_of(in), count, n, d, 1.0f / std::sqrt(float(d)))),
        down(TestWeight::gaussian(rng, format_of(out), count, d, n, 1.0f / std::sqrt(float(n)))) {}

  // The weights that the table multiplies where it rounds them to 8 bits; Stored::int8 means these.
  void round(const Ops& ops) {
    const auto rounded = [&](const TestWeight& w) {
      const std::vector ways = ways_of(ops, w.view.format->id);
      return std::make_shared<TestWeight>(ways.back() == Stored::int8 ? as_multiplied(ops, w) : w);
    };
    in_8_bits = {rounded(gate), rounded(up), rounded(down)};
  }

  // y += weight * ffn(x), in double, of inputs stored in one of the table's ways.
  void add(int64_t e, double weight, const float* x, std::vector<double>& y, Stored in = Stored::exact,
           Stored out = Stored::exact) const {
    const auto used = [&](int which, const TestWeight& w, Stored how) -> const TestWeight& {
      return how == Stored::int8 ? *in_8_bits.at(size_t(which)) : w;
    };
    const TestWeight &gate = used(0, this->gate, in), &up = used(1, this->up, in), &down = used(2, this->down, out);
    const std::vector<float> stored_x = stored(x, gate.view.k, in);
    std::vector<float> h(gate.view.n);
    for (int64_t i = 0; i < gate.view.n; ++i) {
      const double g = stored_dot(gate.row(e, i), stored_x, in).value;
      h[i] = float(g / (1 + std::exp(-g)) * stored_dot(up.row(e, i), stored_x, in).value);
    }
    h = stored(h.data(), gate.view.n, out);
    for (int64_t i = 0; i < down.view.n; ++i) y[i] += weight * stored_dot(down.row(e, i), h, out).value;
  }
};

// Distinct experts for each token, and weights.
struct Assignment {
  std::vector<int32_t> ids;
  std::vector<float> weights;

  Assignment(Rng& rng, int64_t T, int64_t E, int64_t K) {
    for (int64_t t = 0; t < T; ++t) {
      std::vector<int32_t> all(E);
      for (int64_t e = 0; e < E; ++e) all[e] = int32_t(e);
      std::shuffle(all.begin(), all.end(), rng);
      ids.insert(ids.end(), all.begin(), all.begin() + K);
      for (int64_t k = 0; k < K; ++k) weights.push_back(0.1f + std::abs(normal(rng)));
    }
  }
};

// Outputs are of the order of one. Where hidden values are rounded to 8 bits, one that falls between two steps may take
// either.
double tolerance(const Ops& ops, FormatId in, FormatId out) {
  const std::vector exact = {Stored::exact};
  return ways_of(ops, in) == exact && ways_of(ops, out) == exact ? 5e-6 : 2e-3;
}

// Tokens from which a table rounds weights (ways_of).
int64_t rounds_from([[maybe_unused]] const Ops& ops, [[maybe_unused]] FormatId id) {
#ifdef HEARTH_AVX2
  const std::string_view table = ops.name;
  if (table == "amx") {
    const FormatEngine& row = row_of(amx::engine(), id);
    return row.tiles.rounded ? row.tiles.rounded_from : row.panels_from;
  }
  if (table == "avx512" && __builtin_cpu_supports("avx512vnni"))
    return row_of(avx512_vnni::engine(), id).tiles.rounded_from;
  if (table == "avx512") return INT64_MAX;
#endif
  return 0;
}

}  // namespace

TEST_CASE("ffn: the formula") {
  for (const Ops* ops : available_tables()) {
    for (const auto& [in, out] :
         {std::pair{FormatId::f32, FormatId::f32}, {FormatId::bf16, FormatId::f16}, {FormatId::q4_k, FormatId::q8_0}}) {
      for (const int64_t T : {1, 2, 9, 140, 530}) {
        if (T > 512 && in != FormatId::f32) continue;  // among so many values some are rounded to a neighbour
        CAPTURE(name_of(ops));
        CAPTURE(name_of(in));
        CAPTURE(T);
        Rng rng(1);
        const int64_t d = in == FormatId::q4_k ? 256 : 37, n = in == FormatId::q4_k ? 96 : 29;
        TestFfn w(rng, in, out, 1, d, n);
        w.round(*ops);
        const Rows x = Rows::random(rng, T, d);
        Rows y(T, d);
        Bed bed(*ops, ffn_limits(T, d, n, 0, 1, 1));
        ops->ffn(bed.exec(), w.view(), x.view(), y.view());
        double error = INFINITY;
        for (const Stored how_in : ways_of(*ops, in)) {
          for (const Stored how_out : ways_of(*ops, out)) {
            Worst worst;
            for (int64_t t = 0; t < T; ++t) {
              std::vector<double> expected(d);
              w.add(0, 1, x[t], expected, how_in, how_out);
              for (int64_t i = 0; i < d; ++i) worst.see(y[t][i], expected[i], 1);
            }
            error = std::min(error, worst.error);
          }
        }
        CHECK(error <= tolerance(*ops, in, out));
        CHECK(y.clean());
        CHECK(bed.scratch_kept());
      }
    }
  }
}

TEST_CASE("ffn: gates far from zero saturate and stay finite") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rng rng(2);
    const TestFfn w(rng, FormatId::f32, FormatId::f32, 1, 16, 16);
    Rows x = Rows::random(rng, 3, 16);
    for (int t = 0; t < 3; ++t) {
      for (int i = 0; i < 16; ++i) x.view().row(t)[i] *= t == 0 ? 1e3f : t == 1 ? 1e6f : 1e-6f;
    }
    Rows y(3, 16);
    Bed bed(*ops, ffn_limits(3, 16, 16, 0, 1, 1));
    ops->ffn(bed.exec(), w.view(), x.view(), y.view());
    for (int t = 0; t < 3; ++t) {
      std::vector<double> expected(16);
      w.add(0, 1, x[t], expected);
      double largest = 0;
      for (const double e : expected) largest = std::max(largest, std::abs(e));
      Worst worst;
      for (int i = 0; i < 16; ++i) worst.see(y[t][i], expected[i], largest);
      CHECK(worst.error <= 5e-6);
    }
  }
}

TEST_CASE("moe_ffn: the weighted sum of the chosen experts, with and without shared ones") {
  for (const Ops* ops : available_tables()) {
    for (const auto& [in, out] : {std::pair{FormatId::f32, FormatId::bf16}, {FormatId::q4_k, FormatId::q8_0}}) {
      for (const bool with_shared : {true, false}) {
        for (const int64_t T : {1, 2, 7, 33, 300}) {
          CAPTURE(name_of(ops));
          CAPTURE(name_of(in));
          CAPTURE(with_shared);
          CAPTURE(T);
          Rng rng(3);
          const int64_t E = 6, K = 3, d = in == FormatId::q4_k ? 256 : 21, n = 32, shared_n = 64;
          TestFfn experts(rng, in, out, E, d, n);
          experts.round(*ops);
          const TestFfn shared(rng, FormatId::bf16, FormatId::f32, 1, d, shared_n);
          const Assignment to(rng, T, E, K);
          const Rows x = Rows::random(rng, T, d);
          Rows y(T, d);
          Bed bed(*ops, ffn_limits(T, d, n, shared_n, E, K));
          ops->moe_ffn(bed.exec(), experts.view(), with_shared ? shared.view() : FfnWeights{}, to.ids.data(),
                       to.weights.data(), K, x.view(), y.view());
          // How an expert's inputs are stored depends on the number of its tokens.
          std::vector<int64_t> tokens_of(E);
          for (const int32_t id : to.ids) ++tokens_of[id];
          const auto way = [&](FormatId id, int64_t n_tokens) {
            const auto ways = ways_of(*ops, id);
            return n_tokens < rounds_from(*ops, id) ? ways.front() : ways.back();
          };
          Worst worst;
          for (int64_t t = 0; t < T; ++t) {
            std::vector<double> expected(d);
            if (with_shared) shared.add(0, 1, x[t], expected, way(FormatId::bf16, T), way(FormatId::f32, T));
            for (int64_t k = 0; k < K; ++k) {
              const int32_t e = to.ids[t * K + k];
              experts.add(e, to.weights[t * K + k], x[t], expected, way(in, tokens_of[e]), way(out, tokens_of[e]));
            }
            for (int64_t i = 0; i < d; ++i) worst.see(y[t][i], expected[i], 1);
          }
          CHECK(worst.error <= tolerance(*ops, in, out));
          CHECK(y.clean());
          CHECK(bed.scratch_kept());
        }
      }
    }
  }
}

// Weights as they are, activations as every backend then rounds them: what is left is the order of float32 sums.
TEST_CASE("moe_ffn: alike on every table, for every format and any number of tokens") {
  for (const Format& format : all_formats()) {
    Rng rng(5);
    const int64_t E = 3, K = 2, d = 256, n = 256;
    const TestFfn experts(rng, format.id, format.id, E, d, n);
    for (const int64_t T : {1, 3, 8, 40}) {
      if (kSanitized && T != 8) continue;  // by rows, some by panels
      const Assignment to(rng, T, E, K);
      const Rows x = Rows::random(rng, T, d);
      ScratchLimits limits = ffn_limits(T, d, n, 0, E, K);
      limits.alike = true;
      const auto run = [&](const Ops& ops, bool alike, int n_threads) {
        Rows y(T, d);
        Bed bed(ops, limits);
        Exec exec = bed.exec();
        exec.alike = alike;
        exec.n_threads = n_threads;
        ops.moe_ffn(exec, experts.view(), {}, to.ids.data(), to.weights.data(), K, x.view(), y.view());
        CHECK(y.clean());
        CHECK(bed.scratch_kept());
        return y;
      };
      const Rows expected = run(cpu_ops("scalar"), true, 1), exact = run(cpu_ops("scalar"), false, 1);
      const auto distance = [&](const Rows& a, const Rows& b) {  // of all values, as a share of theirs
        double apart = 0, size = 0;
        for (int64_t t = 0; t < T; ++t) {
          for (int64_t i = 0; i < d; ++i) {
            apart += std::pow(double(a[t][i]) - double(b[t][i]), 2);
            size += std::pow(double(b[t][i]), 2);
          }
        }
        return std::sqrt(apart / size);
      };
      CHECK(distance(expected, exact) <= 5e-5);  // 16 bits of every activation
      for (const Ops* ops : available_tables()) {
        CAPTURE(name_of(ops));
        CAPTURE(std::string(format.name));
        CAPTURE(T);
        const Rows y = run(*ops, true, 1), again = run(*ops, true, 2);
        // Now and then a hidden value is rounded the other way: one of 256, by 2^-15 of a largest one of 4 times their
        // root mean square, is 8e-6.
        CHECK(distance(y, expected) <= 2e-5);
        for (int64_t t = 0; t < T; ++t) CHECK(std::equal(y[t], y[t] + d, again[t]));
      }
    }
  }
}

TEST_CASE("moe_ffn: equals the sum of single ffns, also when all tokens choose the same experts") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rng rng(4);
    const int64_t E = 5, K = 2, d = 40, n = 24, T = 11;
    const TestFfn experts(rng, FormatId::bf16, FormatId::bf16, E, d, n);
    Assignment to(rng, T, E, K);
    for (int64_t t = 0; t < T; ++t) {
      to.ids[t * K] = 4;
      to.ids[t * K + 1] = 1;
    }
    const Rows x = Rows::random(rng, T, d);
    Rows y(T, d);
    Bed bed(*ops, ffn_limits(T, d, n, 0, E, K));
    ops->moe_ffn(bed.exec(), experts.view(), {}, to.ids.data(), to.weights.data(), K, x.view(), y.view());
    const auto single = [&](int64_t e) {
      const auto of = [&](const TestWeight& w) {
        Weight one = w.view;
        one.data = w.view.row(e, 0);
        one.count = 1;
        return one;
      };
      Rows out(T, d);
      ops->ffn(bed.exec(), {of(experts.gate), of(experts.up), of(experts.down)}, x.view(), out.view());
      return out;
    };
    const Rows first = single(4), second = single(1);
    Worst worst;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t i = 0; i < d; ++i) {
        worst.see(y[t][i], to.weights[t * K] * first[t][i] + to.weights[t * K + 1] * second[t][i], 1);
      }
    }
    CHECK(worst.error <= 2e-6);
  }
}

// Experts of three are here, in another order and with a stranger between them; the rest is left out, to the bit.
TEST_CASE("moe_ffn: only the experts that have a slot") {
  for (const Ops* ops : available_tables()) {
    for (const FormatId format : {FormatId::f32, FormatId::q8_0}) {
      for (const int64_t T : {1, 5, 40}) {
        CAPTURE(name_of(ops));
        CAPTURE(name_of(format));
        CAPTURE(T);
        Rng rng(8);
        const int64_t E = 6, K = 3, d = 64, n = 32;
        const TestFfn all(rng, format, format, E, d, n), shared(rng, format, format, 1, d, n);
        const std::vector<int32_t> slots = {-1, 2, 0, -1, -1, 3};
        const Assignment to(rng, T, E, K);
        const Rows x = Rows::random(rng, T, d);
        Bed bed(*ops, ffn_limits(T, d, n, n, E, K));
        const auto run = [&](const FfnWeights& experts, const std::vector<float>& weights, bool with_shared) {
          Rows y(T, d);
          ops->moe_ffn(bed.exec(), experts, with_shared ? shared.view() : FfnWeights{}, to.ids.data(), weights.data(),
                       K, x.view(), y.view());
          CHECK(y.clean());
          return y;
        };
        // Slot s holds the expert whose number is s here.
        std::vector<std::byte> bytes[3];
        const auto moved = [&](const TestWeight& w, std::vector<std::byte>& to_bytes) {
          const size_t size = w.view.matrix_stride;
          to_bytes.assign(4 * size, std::byte(0xff));
          for (int64_t e = 0; e < E; ++e)
            if (slots[e] >= 0) std::copy_n(w.view.row(e, 0), size, to_bytes.data() + size_t(slots[e]) * size);
          Weight view = w.view;
          view.data = to_bytes.data();
          view.count = 4;
          return view;
        };
        const FfnWeights some = {moved(all.gate, bytes[0]), moved(all.up, bytes[1]), moved(all.down, bytes[2]),
                                 slots.data(), E};
        std::vector<int32_t> others(E);
        for (int64_t e = 0; e < E; ++e) others[e] = slots[e] < 0 ? int32_t(e) : -1;
        FfnWeights rest = all.view();
        rest.slots = others.data();
        rest.n_slots = E;
        for (const bool with_shared : {false, true}) {
          CAPTURE(with_shared);
          const Rows whole = run(all.view(), to.weights, with_shared), here = run(some, to.weights, with_shared),
                     there = run(rest, to.weights, false);
          Worst worst;
          for (int64_t t = 0; t < T; ++t) {
            for (int64_t i = 0; i < d; ++i) worst.see(double(here[t][i]) + there[t][i], whole[t][i], 1);
          }
          CHECK(worst.error <= 1e-6);
        }
        // Nobody is here.
        FfnWeights none = all.view();
        const std::vector<int32_t> nowhere(E, -1);
        none.slots = nowhere.data();
        none.n_slots = E;
        const Rows nothing = run(none, to.weights, false);
        for (int64_t t = 0; t < T; ++t)
          for (int64_t i = 0; i < d; ++i) REQUIRE(nothing[t][i] == 0);
      }
    }
  }
}

TEST_CASE("moe_ffn: gate and up fused in one tensor are two matrices with a longer stride") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rng rng(5);
    const int64_t E = 4, K = 2, d = 32, n = 12, T = 5;
    const TestWeight fused = TestWeight::gaussian(rng, format_of(FormatId::f16), E, 2 * n, d, 0.2f);
    const TestWeight down = TestWeight::gaussian(rng, format_of(FormatId::f16), E, d, n, 0.2f);
    Weight gate = fused.view, up = fused.view;
    gate.n = up.n = n;
    up.data = fused.view.row(0, n);
    const Assignment to(rng, T, E, K);
    const Rows x = Rows::random(rng, T, d);
    Rows y(T, d);
    Bed bed(*ops, ffn_limits(T, d, n, 0, E, K));
    ops->moe_ffn(bed.exec(), {gate, up, down.view}, {}, to.ids.data(), to.weights.data(), K, x.view(), y.view());
    Worst worst;
    for (int64_t t = 0; t < T; ++t) {
      std::vector<double> expected(d);
      for (int64_t k = 0; k < K; ++k) {
        const int64_t e = to.ids[t * K + k];
        std::vector<double> h(n);
        for (int64_t i = 0; i < n; ++i) {
          const double g = dot(fused.row(e, i), x[t], d).value;
          h[i] = g / (1 + std::exp(-g)) * dot(fused.row(e, n + i), x[t], d).value;
        }
        for (int64_t i = 0; i < d; ++i) {
          for (int64_t j = 0; j < n; ++j) expected[i] += to.weights[t * K + k] * down.row(e, i)[j] * h[j];
        }
      }
      for (int64_t i = 0; i < d; ++i) worst.see(y[t][i], expected[i], 1);
    }
    CHECK(worst.error <= 5e-6);
  }
}

TEST_CASE("moe_ffn: the same bits for any number of threads and any split of the tokens") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    Rng rng(6);
    const int64_t E = 8, K = 3, d = 64, n = 96, T = 20;
    const bool exact = ways_of(*ops, FormatId::q8_0) == std::vector{Stored::exact};
    const TestFfn experts(rng, FormatId::q8_0, FormatId::q8_0, E, d, n),
        shared(rng, FormatId::bf16, FormatId::bf16, 1, d, n);
    const Assignment to(rng, T, E, K);
    const Rows x = Rows::random(rng, T, d);
    const auto run = [&](int n_threads, const std::vector<std::pair<int, int>>& slices) {
      Rows y(T, d);
      Bed bed(*ops, ffn_limits(T, d, n, n, E, K), n_threads);
      for (const auto& [first, count] : slices) {
        ops->moe_ffn(bed.exec(), experts.view(), shared.view(), to.ids.data() + first * K,
                     to.weights.data() + first * K, K, x.view().slice(first, count), y.view().slice(first, count));
      }
      return y;
    };
    const Rows whole = run(1, {{0, 20}});
    CHECK(run(2, {{0, 20}}).same_bits(whole));
    CHECK(run(3, {{0, 20}}).same_bits(whole));
    // Few and many tokens of an expert may be rounded differently.
    if (exact) CHECK(run(2, {{0, 1}, {1, 6}, {7, 13}}).same_bits(whole));
    const Rows few = run(1, {{0, 4}, {4, 4}, {8, 4}, {12, 4}, {16, 4}});
    CHECK(run(2, {{0, 1}, {1, 2}, {3, 4}, {7, 3}, {10, 5}, {15, 5}}).same_bits(few));
  }
}
