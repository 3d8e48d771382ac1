// Rows with a header before their blocks: a made-up format gives what the same weights give without it, to the bit. The
// fast tables have no kernels for it; the scalar one needs none.
#include "tests/support/row_header.h"

#include "kernels/cpu/scalar.h"
#include "tests/kernels/fixture.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// The same weights in both.
struct Pair {
  TestWeight headed, plain;

  Pair(uint32_t seed, int64_t count, int64_t n, int64_t k)
      : headed(weights(scaled_q8(), seed, count, n, k)), plain(weights(format_of(FormatId::q8_0), seed, count, n, k)) {
    REQUIRE(headed.floats == plain.floats);
    REQUIRE(headed.view.row_bytes == plain.view.row_bytes + 2);
  }

 private:
  static TestWeight weights(const Format& format, uint32_t seed, int64_t count, int64_t n, int64_t k) {
    Rng rng(seed);
    return TestWeight::gaussian(rng, format, count, n, k, 0.5f);
  }
};

constexpr int64_t T = 3, d = 128, n = 64, E = 4, K = 2;

ScratchLimits limits() {
  ScratchLimits l;
  l.max_tokens = T;
  l.dim = d;
  l.max_width = l.inter_dim = l.moe_inter_dim = l.shared_inter_dim = d;
  l.n_experts = E;
  l.n_activated = K;
  return l;
}

// run(bed, headed, y) for one of the two must write the same y.
template <class Run>
void check(int64_t width, const Run& run) {
  Bed bed(scalar_ops(), limits());
  Rows headed(T, width), plain(T, width);
  run(bed, true, headed.view());
  run(bed, false, plain.view());
  CHECK(headed.clean());
  CHECK(headed.same_bits(plain));
  CHECK(bed.scratch_kept());
}

Weight of(const Pair& pair, bool headed) {
  return headed ? pair.headed.view : pair.plain.view;
}

}  // namespace

TEST_CASE("embed and products of rows with headers") {
  Rng rng(1);
  const Pair w(2, 1, n, d), heads(3, 2, n, d / 2);
  const Rows x = Rows::random(rng, T, d);
  const std::vector<int32_t> tokens = {5, 0, n - 1};
  check(d, [&](Bed& bed, bool headed, Mat<float> y) { bed.ops.embed(bed.exec(), of(w, headed), tokens.data(), y); });
  check(n, [&](Bed& bed, bool headed, Mat<float> y) { bed.ops.matmul(bed.exec(), of(w, headed), x.view(), y); });
  check(2 * n, [&](Bed& bed, bool headed, Mat<float> y) {
    bed.ops.matmul_heads(bed.exec(), of(heads, headed), {x[0], T, 2, d / 2, x.view().stride, d / 2},
                         {y.data, T, 2, n, y.stride, n});
  });
}

TEST_CASE("FFNs and the router with rows that have headers") {
  Rng rng(4);
  const Pair gate(5, E, n, d), up(6, E, n, d), down(7, E, d, n), router(8, 1, E, d);
  const Rows x = Rows::random(rng, T, d);
  const std::vector<int32_t> ids = {0, 3, 2, 1, 3, 2};
  const std::vector<float> weights = {.5f, .25f, 1, .75f, .1f, .9f};
  const auto ffn = [&](bool headed) { return FfnWeights{of(gate, headed), of(up, headed), of(down, headed)}; };
  check(d, [&](Bed& bed, bool headed, Mat<float> y) { bed.ops.ffn(bed.exec(), ffn(headed), x.view(), y); });
  check(d, [&](Bed& bed, bool headed, Mat<float> y) {
    bed.ops.moe_ffn(bed.exec(), ffn(headed), {}, ids.data(), weights.data(), K, x.view(), y);
  });
  check(K, [&](Bed& bed, bool headed, Mat<float> y) {
    std::vector<int32_t> chosen(T * K);
    std::vector<float> shares(T * K);
    Routing rule;
    rule.n_experts = E;
    rule.n_activated = K;
    bed.ops.route(bed.exec(), rule, of(router, headed), nullptr, x.view(), chosen.data(), shares.data());
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t k = 0; k < K; ++k) y.row(t)[k] = float(chosen[t * K + k]) + shares[t * K + k];
    }
  });
}
