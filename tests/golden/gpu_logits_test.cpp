// Whole models on the emulated GPU: the same logits as on the CPU, the same greedy tokens.
#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/cuda/backend.h"
#include "tests/emulation/settings.h"
#include "tests/golden/golden.h"
#include "tests/runtime/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Attention = ModelOptions::Attention;

const Ops& gpu() {
  REQUIRE_MESSAGE(open_gpu().ops, open_gpu().why_not);
  return *open_gpu().ops;
}

Token most_likely(std::span<const float> row) {
  return Token(std::ranges::max_element(row) - row.begin());
}

std::vector<Token> continue_greedily(Model& model, std::span<const Token> tokens, size_t n) {
  KvCache cache = model.new_cache();
  std::vector<float> logits(size_t(model.config().vocab_size));
  model.run(tokens, cache, logits);
  std::vector<Token> out;
  while (out.size() < n) {
    out.push_back(most_likely(logits));
    model.run({&out.back(), 1}, cache, logits);
  }
  return out;
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

}  // namespace

TEST_CASE("gpu: a float32 file gives the reference's logits and greedy tokens, absorbed and naive") {
  for (const Golden& golden : goldens()) {
    if (!golden.in_tree) continue;
    for (const Attention attention : {Attention::absorbed, Attention::naive}) {
      Model model(GgufFile::open(converted(golden.folder, "f32")),
                  {.ops = &gpu(), .cache_format = FormatId::f32, .attention = attention});
      const double together = relative_error(all_logits(model, golden.tokens), golden.logits);
      const double one_by_one = relative_error(step_by_step(model, golden.tokens), golden.logits);
      MESSAGE(fmt::format("{}, {}: {:.2g} together, {:.2g} one by one", golden.name,
                          attention == Attention::naive ? "naive" : "absorbed", together, one_by_one));
      CHECK(together < (attention == Attention::naive ? 2e-2 : 2e-5));
      CHECK(one_by_one < (attention == Attention::naive ? 2e-2 : 2e-5));
      CHECK(continue_greedily(model, golden.tokens, golden.greedy.size()) == golden.greedy);
    }
  }
}

TEST_CASE("gpu: quantized files give the scalar table's logits") {
  for (const Golden& golden : goldens()) {
    if (!golden.in_tree) continue;
    for (const char* recipe : {"bf16", "f16", "q8_0", "q6_k", "q4_k_m", "q3_k_m", "iq4_xs", "fp8", "int4"}) {
      for (const FormatId cache : {FormatId::bf16, FormatId::f32}) {
        const std::string file = converted(golden.folder, recipe);
        Model scalar(GgufFile::open(file), {.ops = &cpu_ops("scalar"), .cache_format = cache});
        Model model(GgufFile::open(file), {.ops = &gpu(), .cache_format = cache});
        const auto expected = all_logits(scalar, golden.tokens);
        const double together = relative_error(all_logits(model, golden.tokens), expected);
        const double one_by_one = relative_error(step_by_step(model, golden.tokens), expected);
        MESSAGE(fmt::format("{}, {}, cache in {}: {:.2g} together, {:.2g} one by one", golden.name, recipe,
                            format_of(cache).name, together, one_by_one));
        CHECK(together < 2e-2);
        CHECK(one_by_one < 2e-2);
      }
    }
  }
}
