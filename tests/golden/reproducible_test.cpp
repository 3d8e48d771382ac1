// The same seed gives the same text, wherever experts are and however a prompt's got there (--reproducible).
//
//   HEARTH_SEEDS=20 reproducible_test     that many seeds and all shares (tests/long.sh); CI has one and some
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/backend.h"
#include "runtime/engine/sampler.h"
#include "runtime/offload/hybrid.h"
#include "runtime/offload/model_sizes.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/golden/golden.h"
#include "tests/runtime/engine/gpu_scope.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr size_t kWritten = 24;

const char* given_seeds() {
  return std::getenv("HEARTH_SEEDS");
}
int n_seeds() {
  return given_seeds() ? std::atoi(given_seeds()) : 1;
}

std::vector<Token> prompt_of(const GgufFile& file, size_t n) {
  const Tokenizer tokenizer(file.metadata());
  std::vector<Token> tokens;
  for (int i = 3; tokens.size() < n; i = (i * 7 + 5) % 90) {
    const auto more = tokenizer.encode(fmt::format("User: What is {} + {}?\n\nAssistant:", i, i / 2), true);
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  tokens.resize(n);
  return tokens;
}

// What a model writes after a prompt, a text for each seed; and the logits after the prompt.
struct Written {
  std::vector<float> logits;
  std::vector<std::vector<Token>> texts;

  Written(Model& model, std::span<const Token> prompt) {
    KvCache cache = model.new_cache();
    logits.resize(size_t(model.config().vocab_size));
    model.run(prompt, cache, logits);
    for (int seed = 1; seed <= n_seeds(); ++seed) {
      cache.truncate(int64_t(prompt.size()));
      Sampler sampler({.temperature = 1, .top_p = 1, .seed = uint64_t(seed)});
      std::vector<float> last = logits;
      std::vector<Token> text;
      while (text.size() < kWritten) {
        text.push_back(sampler.sample(last, {text, text.size()}));
        model.run({&text.back(), 1}, cache, last);
      }
      texts.push_back(text);
    }
  }
};

}  // namespace

TEST_CASE("the same seed gives the same text, wherever experts are and however a prompt's got there") {
  const std::string path = converted(source_dir() / "demo" / "checkpoint", "q4_k_m");
  const int64_t n_experts = model_sizes(GgufFile::open(path)).n_experts();
  const struct {
    double share;
    PrefillPolicy prefill;
  } ways[] = {{1, PrefillPolicy::host},
              {0, PrefillPolicy::host},
              {0.25, PrefillPolicy::copy},
              {0.5, PrefillPolicy::stream},
              {0.75, PrefillPolicy::automatic}};
  for (const size_t n : {5, 70}) {
    const auto prompt = prompt_of(GgufFile::open(path), n);
    std::optional<Written> first;
    for (const auto& way : ways) {
      if (!given_seeds() && way.share != 1 && way.share != (n == 5 ? 0 : 0.75)) continue;
      CAPTURE(n);
      CAPTURE(way.share);
      Model model(GgufFile::open(path), {.ops = &gpu(),
                                         .device = gpu_device(),
                                         .n_threads = 2,
                                         .n_ctx = 256,
                                         .host_ops = &cpu_ops("auto"),
                                         .resident_experts = int64_t(way.share * double(n_experts)),
                                         .prefill = way.prefill,
                                         .reproducible = true});
      const Written written(model, prompt);
      if (!first) first = written;
      double off = 0, largest = 0;
      for (size_t i = 0; i < written.logits.size(); ++i) {
        off = std::max(off, double(std::abs(written.logits[i] - first->logits[i])));
        largest = std::max(largest, double(std::abs(first->logits[i])));
      }
      int same = 0;
      for (size_t i = 0; i < written.texts.size(); ++i) same += written.texts[i] == first->texts[i];
      MESSAGE(
          fmt::format("{} tokens, {:.0f} % on the GPU: logits within {:.2g} of the largest, {} of {} texts the same", n,
                      100 * way.share, off / largest, same, n_seeds()));
      CHECK(same == n_seeds());
    }
  }
}
