// A whole model on a GPU against the CPU's scalar table, from the first token to hundreds, with experts on one side and
// on both: what no test of kernels looks at (recorded steps, copies in the background, turns of the host). Nothing of
// the emulation is included, so that the same program runs on hardware (tests/device_check.sh).
//
//   HEARTH_MODEL=FILE.gguf end_to_end_test     that model, of any weights
//   HEARTH_DEMO=FILE.gguf end_to_end_test      the bundled demo, converted already; without either it is converted
//   HEARTH_TOKENS=8 end_to_end_test            texts of so many tokens at most: large models, emulated
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "runtime/offload/expert_cache.h"
#include "runtime/offload/hybrid.h"
#include "runtime/offload/model_sizes.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/golden/close_calls.h"
#include "tests/support/convert.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Of the largest logit, as in gpu_logits_test.cpp.
constexpr double kTolerance = 2e-2;

const char* given_model() {
  return std::getenv("HEARTH_MODEL");
}

const std::string& model_path() {
  static TempDir folder;
  static const std::string path = [] {
    if (given_model()) return std::string(given_model());
    if (const char* demo = std::getenv("HEARTH_DEMO")) return std::string(demo);
    const std::string demo = folder / "demo.gguf";
    convert(source_dir() / "demo" / "checkpoint", demo, "q4_k_m");
    return demo;
  }();
  return path;
}

// As many, or fewer where fewer were asked for.
size_t at_most(size_t n) {
  const char* given = std::getenv("HEARTH_TOKENS");
  return given ? std::min(n, size_t(std::max(2, std::atoi(given)))) : n;
}

// As many as wanted: text that the demo model knows; another model has any words.
std::vector<Token> some_tokens(size_t n) {
  const GgufFile file = GgufFile::open(model_path());
  std::vector<Token> tokens;
  if (given_model()) {
    const auto V = size_t(file.tensor("token_embd.weight").shape.rows());
    for (size_t i = 0; i < n; ++i) tokens.push_back(Token((i * 7919 + 13) % V));
    return tokens;
  }
  const Tokenizer tokenizer(file.metadata());
  for (int i = 3; tokens.size() < n; i = (i * 7 + 5) % 90) {
    const auto more = tokenizer.encode(
        fmt::format("User: What is {} + {}?\n\nAssistant: {} + {} = {}\n\n", i, i / 2, i, i / 2, i + i / 2), true);
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  tokens.resize(n);
  return tokens;
}

ModelOptions on_gpu() {
  const Gpu& gpu = open_gpu();
  REQUIRE_MESSAGE(gpu.ops, gpu.why_not);
  return {.ops = gpu.ops, .device = gpu.device, .n_ctx = 1024};
}

// Some layers' experts on the GPU, the others on the CPU.
ModelOptions with_experts(double share, PrefillPolicy policy, ExpertPolicy cache = ExpertPolicy::adaptive) {
  const ModelSizes sizes = model_sizes(GgufFile::open(model_path()));
  ModelOptions options = on_gpu();
  options.host_ops = &cpu_ops("auto");
  options.n_threads = default_threads();
  options.resident_experts = int64_t(share * double(sizes.n_experts()));
  options.prefill = policy;
  options.expert_policy = cache;
  return options;
}

// The logits of all tokens, which are run in slices of n.
std::vector<float> in_slices(Model& model, std::span<const Token> tokens, size_t n) {
  KvCache cache = model.new_cache();
  const auto V = size_t(model.config().vocab_size);
  std::vector<float> logits(tokens.size() * V);
  for (size_t t = 0; t < tokens.size(); t += n) {
    const size_t now = std::min(n, tokens.size() - t);
    model.run(tokens.subspan(t, now), cache, std::span(logits).subspan(t * V, now * V), true);
  }
  return logits;
}

// What the scalar table makes of tokens, and which of them no rounding can send to other experts.
struct Reference {
  std::vector<Token> tokens;
  std::vector<float> logits;
  std::vector<bool> clear;
  double largest = 0;

  explicit Reference(size_t n) : tokens(some_tokens(n)) {
    Model scalar(GgufFile::open(model_path()),
                 {.ops = &CloseCalls::ops(), .n_threads = default_threads(), .n_ctx = 1024});
    const CloseCalls calls(kTolerance);
    logits = in_slices(scalar, tokens, n);
    clear = CloseCalls::clear_tokens();
    for (const float x : logits) largest = std::max(largest, double(std::abs(x)));
    REQUIRE(largest > 0);
  }

  // How far a token's logits are off, as a share of the largest logit of all.
  double off(const std::vector<float>& found, size_t t) const {
    const size_t V = logits.size() / tokens.size();
    double most = 0;
    for (size_t i = t * V; i < (t + 1) * V; ++i) {
      most = std::max(most, std::isfinite(found[i]) ? std::abs(double(found[i]) - double(logits[i])) : INFINITY);
    }
    return most / largest;
  }

  void check(const std::string& what, const std::vector<float>& found) const {
    REQUIRE(found.size() == logits.size());
    std::vector<double> all;
    size_t n_off = 0, n_clear_off = 0;
    for (size_t t = 0; t < tokens.size(); ++t) {
      all.push_back(off(found, t));
      n_off += all.back() > kTolerance;
      n_clear_off += clear[t] && all.back() > kTolerance;
    }
    std::ranges::sort(all);
    MESSAGE(fmt::format("{}: half of the tokens within {:.4f}, all within {:.4f}; {} of {} beyond {}", what,
                        all[all.size() / 2], all.back(), n_off, all.size(), kTolerance));
    CHECK_MESSAGE(n_clear_off == 0, what);
    CHECK_MESSAGE(all[all.size() / 2] <= kTolerance, what);
    // With random weights every layer has calls that rounding turns; the demo is trained.
    CHECK_MESSAGE(n_off * (given_model() ? 2 : 20) <= all.size(), what);
  }
};

}  // namespace

TEST_CASE("end to end: the scalar table's logits, at once, one by one, and in slices") {
  const Reference reference(at_most(72));
  Model model(GgufFile::open(model_path()), on_gpu());
  for (const size_t n : {size_t(72), size_t(1), size_t(7), size_t(9), size_t(33), size_t(70)}) {
    if (n != 72 && n >= reference.tokens.size()) continue;  // as at once
    reference.check(fmt::format("slices of {}", n), in_slices(model, reference.tokens, n));
  }
}

TEST_CASE("end to end: hundreds of single tokens are queued once, recorded once, and repeated") {
  const size_t n_tokens = at_most(300);
  const Reference reference(n_tokens);
  Model model(GgufFile::open(model_path()), on_gpu());
  const StepCounts before = open_gpu().device->step_counts();
  const auto first = in_slices(model, reference.tokens, 1);
  const StepCounts after = open_gpu().device->step_counts();
  CHECK(open_gpu().device->refusal() == "");
  CHECK(after.queued - before.queued == 1);
  CHECK(after.recorded - before.recorded == 1);
  CHECK(after.repeated - before.repeated == int(n_tokens) - 1);
  reference.check("one by one", first);
  CHECK_MESSAGE(in_slices(model, std::span(reference.tokens).first(at_most(40)), 1) ==
                    std::vector<float>(first.begin(), first.begin() + ptrdiff_t(first.size() / n_tokens * at_most(40))),
                "a second conversation gives the same bits");
  CHECK(open_gpu().device->step_counts().recorded == after.recorded);
}

TEST_CASE("end to end: whatever share of the experts is on the GPU, and however a prompt's experts get there") {
  const Reference reference(at_most(30));
  const size_t V = reference.logits.size() / reference.tokens.size();
  for (const double share : {0.0, 0.25, 0.5, 1.0}) {
    for (const PrefillPolicy policy : {PrefillPolicy::host, PrefillPolicy::copy, PrefillPolicy::stream}) {
      Model model(GgufFile::open(model_path()), with_experts(share, policy));
      KvCache cache = model.new_cache();
      if (share == 1 && policy != PrefillPolicy::host) continue;  // nothing is elsewhere
      const size_t n_prompt = reference.tokens.size() * 4 / 5;
      std::vector<float> logits(reference.logits.size());
      model.run(std::span(reference.tokens).first(n_prompt), cache, std::span(logits).first(n_prompt * V), true);
      for (size_t t = n_prompt; t < reference.tokens.size(); ++t) {
        model.run(std::span(reference.tokens).subspan(t, 1), cache, std::span(logits).subspan(t * V, V));
      }
      reference.check(fmt::format("{:.0f} % of the experts, policy {}", 100 * share, int(policy)), logits);
      if (!model.hybrid()) continue;
      const HybridCounts& counts = model.hybrid()->counts();
      CHECK(counts.on_gpu + counts.on_host + counts.staged == counts.chosen);
      if (share == 0) CHECK(counts.on_gpu == 0);
    }
  }
}

TEST_CASE("end to end: with experts that stay where they are, a second run gives the same bits") {
  const std::vector<Token> tokens = some_tokens(at_most(24));
  std::optional<std::vector<float>> first;
  for (int run = 0; run < 2; ++run) {
    Model model(GgufFile::open(model_path()), with_experts(0.5, PrefillPolicy::host, ExpertPolicy::fixed));
    const auto logits = in_slices(model, tokens, 5);
    if (first) CHECK(logits == *first);
    first = logits;
  }
}
