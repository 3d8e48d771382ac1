// Whole models on the emulated GPU: the same logits as on the CPU, the same greedy tokens.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "kernels/cuda/backend.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/emulation/settings.h"
#include "tests/golden/close_calls.h"
#include "tests/golden/golden.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Attention = AttentionForm;

// Of the largest logit. A routing call is close where router logits that are as far off, of their largest, turn it.
constexpr double kTolerance = 2e-2;

const Ops& gpu() {
  REQUIRE_MESSAGE(open_gpu().ops, open_gpu().why_not);
  return *open_gpu().ops;
}
Device* gpu_device() {
  return open_gpu().device;
}

std::vector<float> step_by_step(Model& model, std::span<const Token> tokens) {
  KvCache cache = model.new_cache();
  const size_t V = size_t(model.config().vocab_size);
  std::vector<float> logits(tokens.size() * V);
  for (size_t t = 0; t < tokens.size(); ++t) {
    model.run(tokens.subspan(t, 1), cache, std::span(logits).subspan(t * V, V));
  }
  return logits;
}

// Of how many tokens, on the edge between experts or not, is some logit off by more than kTolerance of the largest of
// all?
struct TokensOff {
  int on_edge = 0, others = 0;
};
TokensOff tokens_off(const std::vector<float>& logits, const std::vector<float>& expected,
                     const std::vector<bool>& on_edge) {
  const size_t V = expected.size() / on_edge.size();
  double largest = 0;
  for (const float x : expected) largest = std::max(largest, double(std::abs(x)));
  TokensOff n;
  for (size_t t = 0; t < on_edge.size(); ++t) {
    double off = 0;
    for (size_t i = t * V; i < (t + 1) * V; ++i) off = std::max(off, double(std::abs(logits[i] - expected[i])));
    if (off > kTolerance * largest) ++(on_edge[t] ? n.on_edge : n.others);
  }
  return n;
}

}  // namespace

TEST_CASE("gpu: a float32 file gives the reference's logits and greedy tokens, absorbed and naive") {
  for (const Golden& golden : goldens()) {
    for (const Attention attention : {Attention::absorbed, Attention::naive}) {
      Model model(GgufFile::open(converted(golden.folder, "f32")),
                  {.ops = &gpu(), .device = gpu_device(), .cache_format = FormatId::f32, .attention = attention});
      const double together = relative_error(all_logits(model, golden.tokens), golden.logits);
      if (attention == Attention::naive) {
        MESSAGE(fmt::format("{}, naive: {:.2g} together", golden.name, together));
        CHECK(together < kTolerance);
        continue;  // it is for many tokens
      }
      const double one_by_one = relative_error(step_by_step(model, golden.tokens), golden.logits);
      MESSAGE(fmt::format("{}, absorbed: {:.2g} together, {:.2g} one by one", golden.name, together, one_by_one));
      CHECK(together < 2e-5);
      CHECK(one_by_one < 2e-5);
      CHECK(continue_greedily(model, golden.tokens, golden.greedy.size()) == golden.greedy);
    }
  }
}

namespace {

// Of the tokens that count, as a share of the largest logit of all.
double largest_error(const std::vector<float>& logits, const std::vector<float>& expected,
                     const std::vector<bool>& counts) {
  const size_t V = expected.size() / counts.size();
  double largest = 0, off = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, double(std::abs(expected[i])));
    if (!counts[i / V]) continue;
    off = std::max(off, std::isfinite(logits[i]) ? std::abs(double(logits[i]) - expected[i]) : INFINITY);
  }
  return off / largest;
}

// Slices of 1 and 7 tokens in turn, as decoding and short prompts run.
std::vector<float> few_by_few(Model& model, std::span<const Token> tokens) {
  KvCache cache = model.new_cache();
  const size_t V = size_t(model.config().vocab_size);
  std::vector<float> logits(tokens.size() * V);
  for (size_t t = 0, n = 1; t < tokens.size(); t += n, n = 8 - n) {
    n = std::min(n, tokens.size() - t);
    model.run(tokens.subspan(t, n), cache, std::span(logits).subspan(t * V, n * V), true);
  }
  return logits;
}

// The logits of all tokens: of the first n at once, of the others one by one.
std::vector<float> prompt_and_steps(Model& model, std::span<const Token> tokens, size_t n) {
  KvCache cache = model.new_cache();
  const size_t V = size_t(model.config().vocab_size);
  std::vector<float> logits(tokens.size() * V);
  model.run(tokens.first(n), cache, std::span(logits).first(n * V), true);
  for (size_t t = n; t < tokens.size(); ++t) {
    model.run(tokens.subspan(t, 1), cache, std::span(logits).subspan(t * V, V));
  }
  return logits;
}

// Greedy choices after each of some tokens.
struct Choices {
  int n = 0, n_clear = 0;        // clear: the same in any logits within kTolerance
  int n_other = 0, n_wrong = 0;  // others than expected: of all, of the clear ones
};

// Logits off by kTolerance of the largest one of all move the distance between two of a token by up to twice that.
Choices compare_choices(const std::vector<float>& logits, const std::vector<float>& expected,
                        const std::vector<bool>& clear, size_t first) {
  const size_t V = expected.size() / clear.size();
  double largest = 0;
  for (const float x : expected) largest = std::max(largest, double(std::abs(x)));
  Choices choices;
  for (size_t t = first; t < clear.size(); ++t) {
    const auto row = std::span(expected).subspan(t * V, V);
    const Token best = most_likely(row);
    double next = -INFINITY;
    for (size_t i = 0; i < V; ++i) {
      if (Token(i) != best) next = std::max(next, double(row[i]));
    }
    const bool is_clear = clear[t] && row[size_t(best)] - next > 2 * kTolerance * largest;
    const bool other = most_likely(std::span(logits).subspan(t * V, V)) != best;
    choices.n += 1, choices.n_clear += is_clear;
    choices.n_other += other, choices.n_wrong += other && is_clear;
  }
  return choices;
}

}  // namespace

// What is rounded to less than 16 bits on a GPU: in attention queries, the softmax's weights and, where keys and values
// are expanded, those and what expands them. (Tiles of more than 32 tokens, which these small matrices never get, round
// tokens and weights too.)
TEST_CASE("gpu: golden checkpoints in every kind of format give the scalar table's logits, and greedy tokens") {
  for (const std::string recipe : {"f32", "bf16", "q8_0", "q4_k_m", "fp8", "int4"}) {
    size_t n_clear = 0, n_tokens = 0;
    Choices all;
    for (const Golden& golden : goldens()) {
      const std::string file = converted(golden.folder, recipe);
      Model scalar(GgufFile::open(file), {.ops = &CloseCalls::ops()});
      std::vector<Token> tokens = golden.tokens;
      const size_t T = tokens.size(), n_few = T / 2;
      const auto greedy = continue_greedily(scalar, tokens, golden.greedy.size());
      tokens.insert(tokens.end(), greedy.begin(), greedy.end() - 1);
      const CloseCalls calls(kTolerance);
      const auto expected = all_logits(scalar, tokens);
      const std::vector<bool> clear = calls.clear_tokens();
      const size_t V = expected.size() / clear.size();
      const auto error_of_first = [&](size_t n, const std::vector<float>& logits) {
        return largest_error(std::vector(logits.begin(), logits.begin() + ptrdiff_t(n * V)),
                             {expected.begin(), expected.begin() + ptrdiff_t(n * V)},
                             {clear.begin(), clear.begin() + ptrdiff_t(n)});
      };
      const auto n_clear_here = size_t(std::count(clear.begin(), clear.begin() + ptrdiff_t(T), true));
      n_tokens += T;
      n_clear += n_clear_here;

      Model absorbed(GgufFile::open(file), {.ops = &gpu(), .device = gpu_device(), .attention = Attention::absorbed});
      const auto logits = prompt_and_steps(absorbed, tokens, T);
      const double together = error_of_first(T, logits);
      double expanded = -1;  // attention's products with keys and values are the same for all; two stand for them
      if (recipe == "bf16" || recipe == "q4_k_m") {
        Model naive(GgufFile::open(file), {.ops = &gpu(), .device = gpu_device(), .attention = Attention::naive});
        expanded = error_of_first(T, all_logits(naive, golden.tokens));
      }
      const double few = error_of_first(n_few, few_by_few(absorbed, std::span(golden.tokens).first(n_few)));
      const Choices choices = compare_choices(logits, expected, clear, T - 1);
      MESSAGE(
          fmt::format("{:7}{:11} together {:.4f}, naive {}, few by few {:.4f}; of {} tokens {} without a close "
                      "call; of {} choices {} clear, {} others",
                      recipe, golden.name, together, expanded < 0 ? "not run" : fmt::format("{:.4f}", expanded), few, T,
                      n_clear_here, choices.n, choices.n_clear, choices.n_other));
      CHECK(together < kTolerance);
      CHECK(expanded < kTolerance);
      CHECK(few < kTolerance);
      CHECK(n_clear_here > 0);
      CHECK(choices.n_wrong == 0);
      CHECK(4 * choices.n_other <= choices.n);  // ties, or after close calls: as a rule they come out the same too
      if (recipe == "bf16") CHECK(choices.n_other == 0);  // what most of these checkpoints are stored in
      all.n += choices.n, all.n_clear += choices.n_clear, all.n_other += choices.n_other;
    }
    MESSAGE(fmt::format("{:7}of {} choices {} clear, {} others", recipe, all.n, all.n_clear, all.n_other));
    CHECK(2 * n_clear >= n_tokens);
    CHECK(4 * all.n_clear >= all.n);
  }
}

// The demo is trained, so rounding hardly ever sends a token to another expert; with random weights it soon does. It
// may where the router hangs by less than kEdge, once in a dialogue, as it may anywhere.
constexpr double kEdge = 5e-3;
TEST_CASE("gpu: the demo model gives the scalar table's logits, and the same answers") {
  for (const char* recipe : {"bf16", "q4_k_m", "fp8", "int4"}) {
    const std::string file = converted(source_dir() / "demo" / "checkpoint", recipe);
    Model scalar(GgufFile::open(file), {.ops = &CloseCalls::ops()});
    const CloseCalls calls(kEdge);
    Model model(GgufFile::open(file), {.ops = &gpu(), .device = gpu_device()});
    const Tokenizer tokenizer(model.file().metadata());
    const auto tokens = tokenizer.encode(
        "<｜begin▁of▁sentence｜><｜User｜>What is 12 + 7?<｜Assistant｜>12 + 7 = 19<｜end▁of▁sentence｜>"
        "<｜User｜>Count from 10 to 17.<｜Assistant｜>10, 11, 12",
        true);
    REQUIRE(tokens.size() > 16);
    const auto expected = all_logits(scalar, tokens);
    const std::vector<bool> on_edge = calls.on_edge();
    const auto together = all_logits(model, tokens), few = few_by_few(model, tokens);
    const auto n_on_edge = std::ranges::count(on_edge, true);
    MESSAGE(fmt::format("{}: {:.2g} together, {:.2g} few by few; of {} tokens {} on an edge", recipe,
                        relative_error(together, expected), relative_error(few, expected), on_edge.size(), n_on_edge));
    CHECK(2 * n_on_edge <= ptrdiff_t(on_edge.size()));
    for (const auto& logits : {together, few}) {
      const TokensOff off = tokens_off(logits, expected, on_edge);
      CHECK(off.others == 0);
      CHECK(off.on_edge <= 1);
    }
    CHECK(continue_greedily(model, tokens, 6) == continue_greedily(scalar, tokens, 6));
  }
}

TEST_CASE("gpu: a step that comes again is recorded once, for every length and every conversation") {
  const Golden& golden = goldens().front();
  const auto tokens = std::span(golden.tokens).first(10);
  Model model(GgufFile::open(converted(golden.folder, "f32")),
              {.ops = &gpu(), .device = gpu_device(), .n_sequences = 3});
  const StepCounts before = gpu_device()->step_counts();
  const auto first = step_by_step(model, tokens);
  const StepCounts after = gpu_device()->step_counts();
  CHECK(after.queued - before.queued == 1);
  CHECK(after.recorded - before.recorded == 1);
  CHECK(after.repeated - before.repeated == 9);
  KvCache other = model.new_cache();  // while it lives, the next one lies elsewhere
  CHECK(step_by_step(model, tokens) == first);
  CHECK(gpu_device()->step_counts().queued == after.queued);
  CHECK(gpu_device()->step_counts().recorded == after.recorded);
  CHECK(gpu_device()->step_counts().repeated == after.repeated + 10);

  // Two conversations in turn do not see each other, and one that goes leaves the other its recording.
  std::optional<KvCache> one = model.new_cache();
  const auto V = size_t(model.config().vocab_size);
  std::vector<float> a(V), b(V);
  for (size_t t = 0; t < tokens.size(); ++t) {
    model.run(tokens.subspan(t, 1), *one, a);
    if (t % 2 == 0) model.run(tokens.subspan(t / 2, 1), other, b);
    CHECK(std::ranges::equal(a, std::span(first).subspan(t * V, V)));
  }
  CHECK(std::ranges::equal(b, std::span(first).subspan(4 * V, V)));
  one.reset();
  model.run(tokens.subspan(5, 1), other, b);
  CHECK(std::ranges::equal(b, std::span(first).subspan(5 * V, V)));
  CHECK(gpu_device()->step_counts().recorded == after.recorded);

  Model plain(GgufFile::open(converted(golden.folder, "f32")),
              {.ops = &gpu(), .device = gpu_device(), .record_steps = false});
  CHECK(step_by_step(plain, tokens) == first);
  CHECK(gpu_device()->step_counts().recorded == after.recorded);
}

// Copies, kernels and recorded steps are queued; whatever the queue may do with them must not change a bit.
TEST_CASE("gpu: the order in which the queue may run changes nothing") {
  const Golden& golden = goldens().front();
  const std::string file = converted(golden.folder, "bf16");
  const auto run = [&] {
    Model model(GgufFile::open(file), {.ops = &gpu(), .device = gpu_device()});
    auto logits = all_logits(model, golden.tokens);
    const auto more = step_by_step(model, std::span(golden.tokens).first(4));
    logits.insert(logits.end(), more.begin(), more.end());
    return logits;
  };
  const emulation::Settings usual = emulation::settings();
  const auto expected = run();
  for (const uint64_t seed : {1, 2, 3}) {
    emulation::settings().random_queue = true;
    emulation::settings().schedule = emulation::Schedule::random;
    emulation::settings().seed = seed;
    emulation::settings().eager_copies = seed % 2;
    CHECK(run() == expected);
  }
  emulation::settings() = usual;
}

TEST_CASE("gpu: memory is counted before anything is loaded, and failures are told in words") {
  const Golden& golden = goldens().front();
  const std::string file = converted(golden.folder, "f32");
  const emulation::Settings usual = emulation::settings();
  const auto refusal = [&] {
    std::string text;
    try {
      Model model(GgufFile::open(file), {.ops = &gpu(), .device = gpu_device()});
      KvCache cache = model.new_cache();
      std::vector<float> logits(size_t(model.config().vocab_size));
      model.run(golden.tokens, cache, logits);
      model.run(std::span(golden.tokens).first(1), cache, logits);
    } catch (const Error& error) {
      CHECK(error.kind == ErrorKind::resource);
      text = error.what();
    }
    emulation::settings() = usual;
    emulation::reset();
    gpu_device()->finish();
    return text;
  };
  CHECK(refusal() == "");
  emulation::settings().memory = size_t(1) << 20;
  const std::string too_small = refusal();
  CAPTURE(too_small);
  CHECK(too_small.starts_with(file + ": the GPU's memory: 1.00 MiB are too little, the least is "));
  CHECK(too_small.find("; 64.5 MiB more would be needed even for a context of 256 tokens") != std::string::npos);
  for (const int64_t n : {1, 3, 5}) {  // weights, activations, scratch, angles, cache
    CAPTURE(n);
    emulation::settings().fail_allocation = n;
    CHECK(refusal().find("out of memory") != std::string::npos);
  }
  for (const int64_t n : {1, 5, 20}) {
    CAPTURE(n);
    emulation::settings().fail_copy = n;
    CHECK(refusal() != "");
    emulation::settings().fail_launch = n;
    CHECK(refusal() != "");
  }
  CHECK(refusal() == "");
}
