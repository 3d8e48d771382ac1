#include "runtime/engine/model.h"

#include <doctest/doctest.h>

#include <numeric>

#include "runtime/offload/placement.h"
#include "tests/quant/split_parts.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Attention = AttentionForm;

ModelOptions exact(const Ops* ops, Attention attention = Attention::automatic) {
  return {.ops = ops, .n_threads = 1, .cache_format = FormatId::f32, .attention = attention};
}

// Sums of 30 to 100 float32 products, three layers deep; measured: at most 1.2e-6.
constexpr double kSameMathematics = 1e-5;

const std::vector<std::pair<const char*, TinyShape>>& shapes() {
  static const std::vector<std::pair<const char*, TinyShape>> all = {
      {"lite", TinyShape::lite()}, {"v2", TinyShape::v2()}, {"v3", TinyShape::v3()}};
  return all;
}

std::span<const float> row(const std::vector<float>& logits, size_t t, const TinyShape& shape) {
  return std::span(logits).subspan(t * size_t(shape.vocab), size_t(shape.vocab));
}

std::string refused_by_model(const TinyModel& tiny, ErrorKind kind = ErrorKind::model) {
  GgufFile file = tiny.file();
  return refusal(kind, [&] { Model(std::move(file), exact(&cpu_ops("scalar"))); });
}

}  // namespace

TEST_CASE("model: absorbed equals naive, prefill equals decoding, every table equals scalar") {
  for (const auto& [which, shape] : shapes()) {
    const TinyModel tiny(shape);
    const auto tokens = some_tokens(70, shape.vocab);  // more than one slice of absorbed attention
    Model reference(tiny.file(), exact(&cpu_ops("scalar"), Attention::absorbed));
    const auto expected = all_logits(reference, tokens);
    for (const Ops* ops : available_tables()) {
      const char* const model_shape = which;  // CAPTURE takes no structured binding with clang 14
      CAPTURE(model_shape);
      CAPTURE(std::string(ops->name));
      for (const Attention attention : {Attention::absorbed, Attention::naive, Attention::automatic}) {
        Model model(tiny.file(), exact(ops, attention));
        CHECK(relative_error(all_logits(model, tokens), expected) < kSameMathematics);
      }
      Model model(tiny.file(), exact(ops));
      KvCache cache = model.new_cache();
      std::vector<float> stepwise(expected.size());
      for (size_t t = 0; t < tokens.size(); ++t) {
        model.run({&tokens[t], 1}, cache, std::span(stepwise).subspan(t * size_t(shape.vocab), size_t(shape.vocab)));
      }
      CHECK(relative_error(stepwise, expected) < kSameMathematics);
    }
  }
}

TEST_CASE("model: a prompt cut into slices gives the logits of the whole") {
  const TinyModel tiny(TinyShape::v3());
  const auto tokens = some_tokens(50, tiny.shape.vocab);
  for (const Ops* ops : available_tables()) {
    Model whole(tiny.file(), exact(ops));
    const auto expected = all_logits(whole, tokens);
    for (const int64_t ubatch : {1, 7, 512}) {
      CAPTURE(std::string(ops->name));
      CAPTURE(ubatch);
      ModelOptions options = exact(ops);
      options.ubatch = ubatch;
      Model model(tiny.file(), options);
      CHECK(relative_error(all_logits(model, tokens), expected) < kSameMathematics);
    }
  }
}

TEST_CASE("model: the number of threads changes no bit") {
  const TinyModel tiny(TinyShape::v2());
  const auto tokens = some_tokens(40, tiny.shape.vocab);
  for (const Ops* ops : available_tables()) {
    for (const Attention attention : {Attention::absorbed, Attention::naive}) {
      std::vector<float> expected;
      for (const int n_threads : {1, 2, 3}) {
        ModelOptions options = exact(ops, attention);
        options.n_threads = n_threads;
        Model model(tiny.file(), options);
        const auto logits = all_logits(model, tokens);
        if (n_threads == 1) expected = logits;
        CAPTURE(std::string(ops->name));
        CAPTURE(n_threads);
        CHECK(logits == expected);
      }
    }
  }
}

TEST_CASE("model: last logits alone are those of the last row; no logits can be asked for" *
          doctest::test_suite("each table")) {
  const TinyModel tiny;
  const auto tokens = some_tokens(30, tiny.shape.vocab);
  Model model(tiny.file(), exact(&cpu_ops("auto")));
  const auto all = all_logits(model, tokens);
  std::vector<float> last(size_t(tiny.shape.vocab));
  KvCache cache = model.new_cache();
  CHECK(model.run(tokens, cache, last));
  CHECK(relative_error(last, std::span(all).last(last.size())) < kSameMathematics);
  KvCache other = model.new_cache();
  CHECK(model.run(tokens, other, {}));
  CHECK(other.length() == 30);
}

TEST_CASE("model: a truncated cache continues as if the rest had never been" * doctest::test_suite("each table")) {
  const TinyModel tiny;
  const auto tokens = some_tokens(30, tiny.shape.vocab);
  Model model(tiny.file(), exact(&cpu_ops("auto"), Attention::absorbed));
  KvCache cache = model.new_cache();
  std::vector<float> first(size_t(tiny.shape.vocab)), again(first.size());
  model.run(std::span(tokens).first(20), cache, first);
  model.run(std::span(tokens).last(10), cache, {});
  cache.truncate(19);
  model.run(std::span(tokens).subspan(19, 1), cache, again);
  CHECK(cache.length() == 20);
  CHECK(relative_error(again, first) < kSameMathematics);
}

TEST_CASE("model: a bf16 cache stays near the f32 one" * doctest::test_suite("each table")) {
  for (const auto& [which, shape] : shapes()) {
    const TinyModel tiny(shape);
    const auto tokens = some_tokens(60, shape.vocab);
    ModelOptions options = exact(&cpu_ops("auto"));
    Model precise(tiny.file(), options);
    options.cache_format = FormatId::bf16;
    Model rounded(tiny.file(), options);
    const char* const model_shape = which;
    CAPTURE(model_shape);
    // By the median over tokens: where an expert was a close call, rounding chooses another one, and that token's
    // logits are all different.
    const auto a = all_logits(rounded, tokens), b = all_logits(precise, tokens);
    std::vector<double> errors;
    for (size_t t = 0; t < tokens.size(); ++t) errors.push_back(relative_error(row(a, t, shape), row(b, t, shape)));
    std::ranges::sort(errors);
    CHECK(errors[tokens.size() / 2] < 0.02);
    CHECK(errors[tokens.size() / 2] > 0);
    CHECK(rounded.cache_bytes() == size_t(shape.n_layers * shape.context * (shape.kv_lora + shape.rope) * 2));
  }
}

TEST_CASE("model: progress is told after each slice and can stop there" * doctest::test_suite("each table")) {
  const TinyModel tiny;
  const auto tokens = some_tokens(25, tiny.shape.vocab);
  ModelOptions options = exact(&cpu_ops("auto"));
  options.ubatch = 10;
  Model model(tiny.file(), options);
  KvCache cache = model.new_cache();
  std::vector<int64_t> told;
  double share = 0;
  CHECK(model.run(tokens, cache, {}, false, [&](const RunProgress& progress) {
    CHECK(progress.total == 25);
    CHECK(progress.share >= share);
    share = progress.share;
    if (told.empty() || told.back() != progress.done) told.push_back(progress.done);
    return true;
  }));
  CHECK(told == std::vector<int64_t>{0, 10, 20});
  CHECK(share > 0.8);
  CHECK(share < 1);
  cache.truncate(0);
  CHECK_FALSE(model.run(tokens, cache, {}, false, [](const RunProgress& progress) { return progress.done < 10; }));
  CHECK(cache.length() == 10);
}

TEST_CASE("model: where nobody says, a long prompt is cut as the model and memory have it, and stops all the same") {
  TinyShape shape = TinyShape::lite();
  shape.n_layers = shape.n_heads = shape.n_activated = 1;
  shape.n_dense = 0;
  shape.n_experts = 32;
  shape.context = 8192;
  const TinyModel tiny(shape);
  const auto tokens = some_tokens(4097, shape.vocab);
  ModelOptions options = {.ops = &cpu_ops("auto"), .ubatch = kAutomaticUbatch};
  // Where slices of the first n tokens end, but the last.
  const auto cuts = [&](Model& model, size_t n) {
    KvCache cache = model.new_cache();
    std::vector<int64_t> ends;
    model.run(std::span(tokens).first(n), cache, {}, false, [&](const RunProgress& progress) {
      if (progress.done > (ends.empty() ? 0 : ends.back())) ends.push_back(progress.done);
      return progress.done < 4096;
    });
    return ends;
  };
  using Cuts = std::vector<int64_t>;
  Model model(tiny.file(), options);
  CHECK(model.options().ubatch == 4096);
  for (const size_t n : {1, 512, 513}) CHECK(cuts(model, n) == Cuts());
  CHECK(cuts(model, 4097) == Cuts{4096});
  int asked = 0;
  KvCache cache = model.new_cache();
  CHECK_FALSE(model.run(tokens, cache, {}, false, [&](const RunProgress&) { return ++asked < 40; }));
  CHECK(asked == 40);  // nothing more was computed
  CHECK(cache.length() == 0);

  options.ram = 4 << 20;
  Model small(tiny.file(), options);
  CHECK(small.options().ubatch == 512);
  CHECK(cuts(small, 512) == Cuts());
  CHECK(cuts(small, 513) == Cuts{512});
  options.n_ctx = 300;
  CHECK(Model(tiny.file(), options).options().ubatch == 300);
  options.ubatch = 20;
  CHECK(Model(tiny.file(), options).options().ubatch == 20);
}

TEST_CASE("model: stopped anywhere, it goes on with the same bits" * doctest::test_suite("each table")) {
  for (const int n_threads : {1, 3}) {
    for (const TinyShape& model_shape : {TinyShape(), TinyShape::v2()}) {
      const TinyModel tiny(model_shape);
      const auto tokens = some_tokens(25, tiny.shape.vocab);
      ModelOptions options = exact(&cpu_ops("auto"));
      options.ubatch = 10;
      options.n_threads = n_threads;
      int told_experts = 0;
      options.routed = [&](int64_t, const StepKind&, std::span<const int32_t>) { ++told_experts; };
      Model model(tiny.file(), options);
      const auto whole = all_logits(model, tokens);
      const int told_by_whole = told_experts;

      // Also in the middle of a layer: a watch is asked between the pieces of every loop.
      int n_asked = 0;
      KvCache cache = model.new_cache();
      model.run(tokens, cache, {}, false, [&](const RunProgress&) { return ++n_asked > 0; });
      REQUIRE(n_asked >= 3 * tiny.shape.n_layers);  // three slices, and what this thread did of their loops
      for (int stop = 0; stop < n_asked; stop += 1 + n_asked / 60) {
        CAPTURE(stop);
        cache.truncate(0);
        int asked = 0;
        told_experts = 0;
        const bool whole_run = model.run(tokens, cache, {}, false, [&](const RunProgress&) { return asked++ < stop; });
        REQUIRE(whole_run == (asked <= stop));  // several threads do not always ask as often
        if (whole_run) continue;
        CHECK(told_experts <= told_by_whole);
        REQUIRE(cache.length() % 10 == 0);
        const auto done = size_t(cache.length());
        std::vector<float> rest((tokens.size() - done) * size_t(tiny.shape.vocab));
        REQUIRE(model.run(std::span(tokens).subspan(done), cache, rest, true));
        CHECK(std::ranges::equal(rest, std::span(whole).subspan(done * size_t(tiny.shape.vocab))));
      }
    }
  }
}

TEST_CASE("model: a token may be stopped too, and run again") {
  const TinyModel tiny;
  const auto tokens = some_tokens(12, tiny.shape.vocab);
  Model model(tiny.file(), exact(&cpu_ops("auto")));
  KvCache cache = model.new_cache();
  const auto V = size_t(tiny.shape.vocab);
  std::vector<float> logits(V), again(V);
  model.run(tokens, cache, {});
  model.run(std::span(tokens).first(1), cache, logits);
  for (const int stop : {0, 1, 5, 20}) {
    cache.truncate(12);
    int asked = 0;
    CHECK_FALSE(
        model.run(std::span(tokens).first(1), cache, again, false, [&](const RunProgress&) { return asked++ < stop; }));
    CHECK(cache.length() == 12);
    CHECK(model.run(std::span(tokens).first(1), cache, again));
    CHECK(again == logits);
  }
}

TEST_CASE("model: what a watch throws comes out when the kernels are done") {
  const TinyModel tiny;
  const auto tokens = some_tokens(25, tiny.shape.vocab);
  ModelOptions options = exact(&cpu_ops("auto"));
  options.n_threads = 3;
  Model model(tiny.file(), options);
  const auto whole = all_logits(model, tokens);
  KvCache cache = model.new_cache();
  int asked = 0;
  const auto watch = [&](const RunProgress&) -> bool {
    require(++asked < 20, ErrorKind::interrupted, "enough");
    return true;
  };
  CHECK(refusal(ErrorKind::interrupted, [&] { model.run(tokens, cache, {}, false, watch); }) == "enough");
  CHECK(cache.length() == 0);
  CHECK(all_logits(model, tokens) == whole);
}

TEST_CASE("model: layouts of other files give the same bits") {
  const TinyModel tiny(TinyShape::v2());
  const auto tokens = some_tokens(20, tiny.shape.vocab);
  Model current(tiny.file(), exact(&cpu_ops("scalar")));
  const auto expected = all_logits(current, tokens);
  const auto same_after = [&](auto change) {
    TinyModel other(TinyShape::v2());
    change(other);
    Model model(other.file(), exact(&cpu_ops("scalar")));
    return all_logits(model, tokens) == expected && model.active_bytes() == current.active_bytes();
  };
  CHECK(same_after([](TinyModel& m) { m.make_old_layout(); }));
  CHECK(same_after([](TinyModel& m) { m.flatten_heads(); }));
  CHECK(same_after([](TinyModel& m) { m.fuse_gate_up(); }));
  CHECK(same_after([](TinyModel& m) {  // a multi-token-prediction layer is there, and not run
    TinyTensor extra = m.tensor("blk.2.attn_norm.weight");
    extra.name = "blk.3.nextn.enorm.weight";
    m.tensors.push_back(extra);
  }));
  CHECK(same_after([](TinyModel& m) {  // counted, and its tensors left out
    m.metadata.set(key::kBlockCount, GgufValue::of_u32(4));
    m.metadata.set(key::kNextnPredictLayers, GgufValue::of_u32(1));
  }));
  const TempDir dir;  // a part for every tensor, and a first one without any
  Model split(GgufFile::open(split_one_by_one(tiny.file(), dir.path())), exact(&cpu_ops("scalar")));
  CHECK(split.file().parts().size() == tiny.tensors.size() + 1);
  CHECK(all_logits(split, tokens) == expected);
}

TEST_CASE("model: a file without a head uses the embedding") {
  TinyModel tied, untied;
  tied.take(name::kOutput);
  untied.tensor(name::kOutput).values = untied.tensor(name::kTokenEmbd).values;
  const auto tokens = some_tokens(10, 300);
  Model a(tied.file(), exact(&cpu_ops("scalar"))), b(untied.file(), exact(&cpu_ops("scalar")));
  CHECK(all_logits(a, tokens) == all_logits(b, tokens));
}

TEST_CASE("model: norms in another format are widened") {
  TinyModel plain, half;
  for (auto* m : {&plain, &half}) {
    for (auto& t : m->tensors) {
      if (t.name.ends_with("norm.weight")) std::ranges::fill(t.values, 1.5f);
    }
  }
  for (auto& t : half.tensors) {
    if (t.name.ends_with("norm.weight")) t.format = FormatId::f16;
  }
  const auto tokens = some_tokens(10, 300);
  Model a(plain.file(), exact(&cpu_ops("scalar"))), b(half.file(), exact(&cpu_ops("scalar")));
  CHECK(all_logits(a, tokens) == all_logits(b, tokens));
}

TEST_CASE("model: active bytes are those of one token's weights") {
  const TinyModel tiny(TinyShape::v2());
  uint64_t expected = 0;
  for (const auto& t : tiny.tensors) {
    uint64_t bytes = t.values.size() * sizeof(float);
    if (t.name == name::kTokenEmbd) bytes = uint64_t(tiny.shape.dim) * sizeof(float);
    if (t.name.find("_exps.") != std::string::npos) bytes = bytes / 8 * 3;
    expected += bytes;
  }
  CHECK(Model(tiny.file(), exact(&cpu_ops("scalar"))).active_bytes() == expected);
}

TEST_CASE("model: every tensor of the wrong shape is refused with expected and found") {
  for (const auto& [which, shape] : shapes()) {
    const TinyModel good(shape);
    for (size_t i = 0; i < good.tensors.size(); ++i) {
      if (good.tensors[i].name == name::kTokenEmbd) continue;  // below
      TinyModel bad(shape);
      auto& t = bad.tensors[i];
      const std::string right = t.shape.text();
      t.shape.dim[0] += 1;
      t.values.resize(size_t(t.shape.elems()));
      CHECK(mentions(refused_by_model(bad), {t.name.c_str(), right.c_str(), t.shape.text().c_str()}));
    }
  }
  TinyModel narrow;
  narrow.tensor(name::kTokenEmbd).shape = Shape(300, 63);
  narrow.tensor(name::kTokenEmbd).values.resize(300 * 63);
  CHECK(mentions(refused_by_model(narrow), {"token_embd.weight", "[300, 64]", "[300, 63]"}));
}

TEST_CASE("model: every missing tensor is refused by name") {
  for (const auto& [which, shape] : shapes()) {
    const TinyModel good(shape);
    for (const auto& t : good.tensors) {
      if (t.name == name::kOutput || t.name.ends_with(name::kExpProbsB)) continue;  // may be absent
      TinyModel bad(shape);
      bad.take(t.name);
      CHECK(mentions(refused_by_model(bad), {t.name.c_str()}));
    }
  }
}

TEST_CASE("model: tensors that would change the result unseen are refused") {
  for (const char* unknown : {"blk.0.attn_output.bias", "blk.1.ffn_down_exps.scale", "rope_freqs.weight"}) {
    TinyModel m;
    m.tensors.push_back({unknown, Shape(64), std::vector<float>(64)});
    CHECK(mentions(refused_by_model(m), {unknown}));
  }
  TinyModel biased(TinyShape::v2());  // softmax routing has no bias
  biased.tensors.push_back({"blk.1.exp_probs_b.bias", Shape(8), std::vector<float>(8)});
  CHECK(mentions(refused_by_model(biased), {"blk.1.exp_probs_b.bias", "softmax"}));
}

TEST_CASE("model: contexts, tokens and options out of range are refused with both numbers") {
  const TinyModel tiny;
  const Ops* ops = &cpu_ops("scalar");
  const auto refused = [&](ErrorKind kind, ModelOptions options) {
    GgufFile file = tiny.file();
    return refusal(kind, [&] { Model(std::move(file), options); });
  };
  CHECK(mentions(refused(ErrorKind::resource, {.ops = ops, .n_ctx = 257}), {"257", "256"}));
  CHECK(mentions(refused(ErrorKind::usage, {.ops = ops, .n_threads = 0}), {"threads", "0"}));
  CHECK(mentions(refused(ErrorKind::usage, {.ops = ops, .ubatch = -1}), {"ubatch", "-1"}));
  CHECK(mentions(refused(ErrorKind::usage, {.ops = ops, .n_ctx = -1}), {"-1"}));
  CHECK(mentions(refused(ErrorKind::usage, {.ops = ops, .n_sequences = 0}), {"sequences", "0"}));
  CHECK(mentions(refused(ErrorKind::usage, {.ops = ops, .cache_format = FormatId::q8_0}), {"BF16", "F32", "Q8_0"}));

  Model model(tiny.file(), {.ops = ops, .n_ctx = 8});
  KvCache cache = model.new_cache();
  const auto run = [&](std::vector<Token> tokens) { model.run(tokens, cache, {}); };
  CHECK(mentions(refusal(ErrorKind::usage, [&] { run({}); }), {"no tokens"}));
  CHECK(mentions(refusal(ErrorKind::usage, [&] { run({1, 300}); }), {"300", "299"}));
  CHECK(mentions(refusal(ErrorKind::usage, [&] { run({-1}); }), {"-1"}));
  run({1, 2, 3, 4, 5});
  CHECK(mentions(refusal(ErrorKind::resource, [&] { run({1, 2, 3, 4}); }), {"4 tokens", "5", "8"}));
  CHECK(cache.length() == 5);
  run({6, 7, 8});
  CHECK(cache.length() == cache.capacity());
}

TEST_CASE("model: the context is the model's limit unless asked for, and never above 32768 by itself") {
  TinyModel large;
  large.metadata.set(key::kContextLength, GgufValue::of_u32(163840));
  CHECK(Model(large.file(), {.ops = &cpu_ops("scalar")}).options().n_ctx == 32768);
  CHECK(Model(TinyModel().file(), {.ops = &cpu_ops("scalar")}).options().n_ctx == 256);
  CHECK(Model(large.file(), {.ops = &cpu_ops("scalar"), .n_ctx = 40000}).options().n_ctx == 40000);
}

// All weights that can be are Q8_0, so that activations pass through every rounding there is.
void quantize_all(TinyModel& tiny) {
  for (auto& t : tiny.tensors) {
    if (t.shape.rank > 1 && t.shape.cols() % 32 == 0) t.format = FormatId::q8_0;
  }
}

TEST_CASE("model: a weight that is not a number never goes unnoticed, on any table") {
  const auto tokens = some_tokens(40, 300);
  const auto all_bad = [](std::span<const float> row) {
    return std::ranges::none_of(row, [](float x) { return std::isfinite(x); });
  };
  for (const char* tensor : {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "blk.2.attn_output.weight",
                             "blk.0.ffn_down.weight", "blk.1.ffn_down_shexp.weight", "output_norm.weight"}) {
    for (const bool quantized : {false, true}) {
      for (const float bad : {NAN, INFINITY}) {
        TinyModel tiny;
        if (quantized) quantize_all(tiny);
        auto& t = tiny.tensor(tensor);
        t.format = FormatId::f32;
        std::ranges::fill(t.values, bad);
        const std::string path = tiny.file().path();
        for (const Ops* ops : available_tables()) {
          CAPTURE(std::string(tensor));
          CAPTURE(std::string(ops->name));
          CAPTURE(quantized);
          CAPTURE(bad);
          Model model(GgufFile::open(path), exact(ops));
          const auto logits = all_logits(model, tokens);
          CHECK(all_bad(row(logits, 0, tiny.shape)));
          CHECK(all_bad(row(logits, tokens.size() - 1, tiny.shape)));
          std::vector<float> next(size_t(tiny.shape.vocab));
          KvCache cache = model.new_cache();
          model.run(std::span(tokens).first(1), cache, next);
          CHECK(all_bad(next));
        }
      }
    }
  }
}

// What sanitizers are for: whichever tensor is broken, routing, softmax and rounding stay inside their memory.
TEST_CASE("model: one broken weight anywhere is never undefined behaviour") {
  const TinyModel good(TinyShape::v3());
  const auto tokens = some_tokens(20, good.shape.vocab);
  for (size_t i = 0; i < good.tensors.size(); ++i) {
    TinyModel tiny(TinyShape::v3());
    quantize_all(tiny);
    tiny.tensors[i].format = FormatId::f32;
    tiny.tensors[i].values[tiny.tensors[i].values.size() / 2] = i % 2 ? NAN : INFINITY;
    const std::string path = tiny.file().path();
    for (const Ops* ops : available_tables()) {
      Model model(GgufFile::open(path), exact(ops));
      KvCache cache = model.new_cache();
      std::vector<float> logits(size_t(tiny.shape.vocab));
      CHECK(model.run(tokens, cache, logits));
      CHECK(model.run(std::span(tokens).first(1), cache, logits));
    }
  }
}
