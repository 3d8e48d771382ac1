#include "runtime/eval/bench.h"

#include <doctest/doctest.h>

#include "runtime/eval/bench_parallel.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("bench: samples have median, minimum and maximum") {
  CHECK(Samples{}.median() == 0);
  CHECK(Samples{{3, 1, 2}}.median() == 2);
  CHECK(Samples{{4, 1, 2, 3}}.median() == 2.5);
  CHECK(Samples{{4, 1, 2, 3}}.min() == 1);
  CHECK(Samples{{4, 1, 2, 3}}.max() == 4);
}

TEST_CASE("bench: measures what was asked for, and the share follows from its parts") {
  Model model(TinyModel().file(), {.ops = &cpu_ops("auto"), .n_threads = 2});
  const auto r = bench(model, {.prefill = 20, .decode = 10, .depth = 30, .repetitions = 2});
  CHECK(r.prefill.values.size() == 2);
  CHECK(r.decode.values.size() == 2);
  CHECK(r.read_bandwidth.values.size() == 2);
  CHECK(r.prefill.min() > 0);
  CHECK(r.decode.min() > 0);
  CHECK(r.active_bytes == model.active_bytes());
  CHECK(r.cache_bytes == 35 * 40 * 2 * 3);  // positions x values x bf16 x layers
  CHECK(r.decode_floor == doctest::Approx(r.read_bandwidth.median() / double(r.active_bytes + r.cache_bytes)));
  CHECK(r.decode_share == doctest::Approx(r.decode.median() / r.decode_floor));

  const auto prefill_only = bench(model, {.prefill = 8, .decode = 0, .repetitions = 1});
  CHECK(prefill_only.prefill.values.size() == 1);
  CHECK(prefill_only.decode.empty());
  CHECK(prefill_only.read_bandwidth.empty());
  CHECK(bench(model, {.prefill = 0, .decode = 2, .repetitions = 1}).prefill.empty());
}

TEST_CASE("bench: the read bandwidth is that of a machine") {
  const double rate = ReadBandwidth(2, size_t(64) << 20).measure();
  CHECK(rate > 1e7);  // also under sanitizers on a busy machine
  CHECK(rate < 20e12);
}

TEST_CASE("bench: refuses what cannot be measured, and can be interrupted") {
  Model model(TinyModel().file(), {.ops = &cpu_ops("auto"), .n_ctx = 64});
  const auto refused = [&](const BenchOptions& options) {
    return refusal(ErrorKind::usage, [&] { bench(model, options); });
  };
  CHECK(mentions(refused({.prefill = 0, .decode = 0}), {"prefill 0", "decode 0"}));
  CHECK(mentions(refused({.prefill = -1, .decode = 5}), {"prefill -1"}));
  CHECK(mentions(refused({.prefill = 60, .depth = 5}), {"133", "64"}));
  CHECK(mentions(refused({.prefill = 65, .decode = 1}), {"65", "64"}));
  CHECK(mentions(refused({.prefill = 5, .decode = 5, .repetitions = 0}), {"repetitions", "0"}));
  BenchOptions options{.prefill = 5, .decode = 5};
  options.progress = [](std::string_view, int, int) { return false; };
  CHECK(mentions(refusal(ErrorKind::interrupted, [&] { bench(model, options); }), {"interrupted"}));
}

TEST_CASE("bench of several sequences: what was read, the floor of that, and refusals") {
  const TinyShape shape = TinyShape::v3();
  Model model(TinyModel(shape).file(), {.ops = &cpu_ops("auto"), .n_threads = 2, .n_sequences = 4});
  const ParallelOptions options = {.streams = {1, 2, 4}, .prompt = 10, .decode = 12, .prefill = 20, .repetitions = 1};
  const ParallelResult r = bench_parallel(model, options);
  REQUIRE(r.rows.size() == 3);
  CHECK(r.prefill_rate > 0);
  CHECK(r.bandwidth > 0);
  for (const ParallelRow& row : r.rows) {
    CHECK(row.rate > 0);
    CHECK(row.first_token_seconds > 0);
    CHECK(row.share == doctest::Approx(row.rate / row.floor));
    CHECK(row.floor <= r.prefill_rate * 1.001);
  }
  // One token reads its K experts; several read more than that, and fewer than all theirs together.
  const double cache = 16.0 * (shape.kv_lora + shape.rope) * 2 * double(shape.n_layers);
  CHECK(r.rows[0].step_bytes == doctest::Approx(double(model.active_bytes()) + cache));
  const double one = r.rows[0].step_bytes - double(model.step_bytes()) - cache;
  const double four = r.rows[2].step_bytes - double(model.step_bytes()) - 4 * cache;
  CHECK(one > 0);
  CHECK(four > 1.2 * one);
  CHECK(four < 4 * one);

  const auto refused = [&](const ParallelOptions& wrong) {
    return refusal(ErrorKind::usage, [&] { bench_parallel(model, wrong); });
  };
  CHECK(mentions(refused({.streams = {5}, .prompt = 10, .decode = 12}), {"1 to 4"}));
  CHECK(mentions(refused({.streams = {0}, .prompt = 10, .decode = 12}), {"1 to 4"}));
  CHECK(mentions(refused({.streams = {1}, .prompt = 0, .decode = 12, .prefill = 20}), {"1 or more"}));
  CHECK(mentions(refused({.streams = {1}, .prompt = 200, .decode = 100, .prefill = 20}), {"300", "256"}));
  ParallelOptions stopped = options;
  stopped.stop_now = [] { return true; };
  CHECK(refusal(ErrorKind::interrupted, [&] { bench_parallel(model, stopped); }) == "interrupted");
}
