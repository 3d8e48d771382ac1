#include "runtime/eval/perplexity.h"

#include <doctest/doctest.h>

#include <fstream>

#include "runtime/eval/baseline.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

ModelOptions exact() {
  return {.ops = &cpu_ops("auto"), .cache_format = FormatId::f32};
}

// The mean negative log-likelihood of the second half of each window, from the definition.
double expected_nll(Model& model, const std::vector<Token>& tokens, int64_t window, std::optional<Token> bos) {
  double sum = 0;
  int n = 0;
  for (size_t first = 0; first + size_t(window) <= tokens.size(); first += size_t(window)) {
    std::vector<Token> w(tokens.begin() + std::ptrdiff_t(first), tokens.begin() + std::ptrdiff_t(first) + window);
    if (bos) w[0] = *bos;
    const auto logits = all_logits(model, w);
    for (int64_t t = window / 2; t < window - 1; ++t, ++n) {
      const auto row = std::span(logits).subspan(size_t(t * 300), 300);
      double total = 0;
      for (const float x : row) total += std::exp(double(x));
      sum += std::log(total) - double(row[size_t(w[size_t(t + 1)])]);
    }
  }
  return sum / n;
}

// q8_0-rounded copies of the big matrices: a model near the first one.
TinyModel rounded() {
  TinyModel m;
  for (auto& t : m.tensors) {
    if (t.shape.rank >= 2 && t.shape.cols() % 32 == 0 && t.name.find("gate_inp") == std::string::npos) {
      t.format = FormatId::q8_0;
    }
  }
  return m;
}

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_all(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("perplexity: equals its definition" * doctest::test_suite("each table")) {
  Model model(TinyModel().file(), exact());
  const auto tokens = some_tokens(110, 300);
  for (const std::optional<Token> bos : {std::optional<Token>(), std::optional<Token>(0)}) {
    const auto result = measure_perplexity(model, tokens, {.n_ctx = 32, .bos = bos});
    CHECK(result.n_windows == 3);
    CHECK(result.window == 32);
    CHECK(result.n_scored == 3 * 15);
    CHECK(result.tokens_run == 3 * 31);
    CHECK(std::log(result.ppl) == doctest::Approx(expected_nll(model, tokens, 32, bos)).epsilon(1e-5));
    CHECK(result.ppl_error > 0);
    CHECK_FALSE(result.divergence.has_value());
  }
  CHECK(measure_perplexity(model, tokens, {.n_ctx = 32, .max_windows = 2}).n_windows == 2);
  CHECK(measure_perplexity(model, tokens, {.n_ctx = 200}).window == 110);  // a text shorter than a window
}

TEST_CASE("perplexity: a model does not diverge from itself, and from its rounded copy a little" *
          doctest::test_suite("each table")) {
  TempDir folder;
  const auto tokens = some_tokens(100, 300);
  Model model(TinyModel().file(), exact()), copy(rounded().file(), exact());
  const auto saved = measure_perplexity(model, tokens, {.n_ctx = 32, .save_baseline = folder / "base"});
  CHECK(fs::file_size(folder / "base") == 96 + 45 * (8 + 2 * 300));

  const auto self = measure_perplexity(model, tokens, {.n_ctx = 32, .baseline = folder / "base"});
  REQUIRE(self.divergence.has_value());
  CHECK(self.divergence->baseline_name == "tiny");
  CHECK(self.divergence->mean_kl < 1e-7);
  CHECK(self.divergence->max_kl < 1e-6);
  CHECK(self.divergence->top1_agreement == 1);
  CHECK(self.divergence->baseline_ppl == doctest::Approx(saved.ppl).epsilon(1e-6));

  const auto other = measure_perplexity(copy, tokens, {.n_ctx = 32, .baseline = folder / "base"});
  CHECK(other.divergence->mean_kl > 1e-5);
  CHECK(other.divergence->mean_kl < 0.3);
  CHECK(other.divergence->mean_kl_error > 0);
  CHECK(other.divergence->median_kl <= other.divergence->p99_kl);
  CHECK(other.divergence->p99_kl <= other.divergence->max_kl);
  CHECK(other.divergence->top1_agreement > 0.6);
  CHECK(other.divergence->baseline_ppl == doctest::Approx(saved.ppl).epsilon(1e-6));
}

TEST_CASE("perplexity: a baseline of anything else is refused") {
  TempDir folder;
  const std::string base = folder / "base", bad = folder / "bad";
  Model model(TinyModel().file(), exact());
  const auto tokens = some_tokens(64, 300);
  measure_perplexity(model, tokens, {.n_ctx = 32, .save_baseline = base});
  const std::string whole = read_all(base);
  const auto refused = [&](const PerplexityOptions& options, std::span<const Token> text) {
    return refusal(ErrorKind::format, [&] { measure_perplexity(model, text, options); });
  };
  CHECK(mentions(refused({.n_ctx = 16, .baseline = base}, tokens), {"tokens per window", "16", "32"}));
  CHECK(mentions(refused({.n_ctx = 32, .max_windows = 1, .baseline = base}, tokens), {"windows", "1", "2"}));
  auto others = tokens;
  others[40] ^= 1;
  CHECK(mentions(refused({.n_ctx = 32, .baseline = base}, others), {"other tokens"}));
  CHECK(mentions(refused({.n_ctx = 32, .bos = 0, .baseline = base}, tokens), {"other tokens"}));

  write_all(bad, whole.substr(0, whole.size() - 1));
  CHECK(mentions(refused({.n_ctx = 32, .baseline = bad}, tokens), {"bad", "truncated"}));
  write_all(bad, whole.substr(0, 40));
  CHECK(mentions(refused({.n_ctx = 32, .baseline = bad}, tokens), {"bad", "not a file of stored predictions"}));
  write_all(bad, "GGUF" + whole.substr(4));
  CHECK(mentions(refused({.n_ctx = 32, .baseline = bad}, tokens), {"bad", "not a file of stored predictions"}));
  std::string version = whole;
  version[8] = 2;
  write_all(bad, version);
  CHECK(mentions(refused({.n_ctx = 32, .baseline = bad}, tokens), {"version", "1", "2"}));
  std::string huge = whole;  // counts whose product does not fit 64 bits
  for (int i = 12; i < 24; ++i) huge[size_t(i)] = char(0xff);
  write_all(bad, huge);
  CHECK(mentions(refused({.n_ctx = 32, .baseline = bad}, tokens), {"bad", "truncated"}));

  TinyShape wide;
  wide.vocab = 310;
  Model other_vocabulary(TinyModel(wide).file(), exact());
  CHECK(mentions(refusal(ErrorKind::format,
                         [&] { measure_perplexity(other_vocabulary, tokens, {.n_ctx = 32, .baseline = base}); }),
                 {"vocabulary", "310", "300"}));
}

TEST_CASE("perplexity: unusable requests are refused, and an interrupted one leaves no file") {
  TempDir folder;
  Model model(TinyModel().file(), exact());
  const auto tokens = some_tokens(64, 300);
  const auto refused = [&](const PerplexityOptions& options, int64_t n_tokens = 64) {
    return refusal(ErrorKind::usage,
                   [&] { measure_perplexity(model, std::span(tokens).first(size_t(n_tokens)), options); });
  };
  CHECK(mentions(refused({.n_ctx = 3}), {"window", "3"}));
  CHECK(mentions(refused({}, 3), {"3 tokens"}));
  CHECK(mentions(refused({.n_ctx = 32, .save_baseline = folder / "a", .baseline = folder / "b"}), {"not both"}));
  write_all(folder / "there", "x");
  CHECK(mentions(refused({.n_ctx = 32, .save_baseline = folder / "there"}), {"there", "exists"}));
  Model narrow(TinyModel().file(), {.ops = &cpu_ops("auto"), .n_ctx = 16});
  CHECK(mentions(refusal(ErrorKind::usage, [&] { measure_perplexity(narrow, tokens, {.n_ctx = 32}); }), {"32", "16"}));
  CHECK(mentions(
      refusal(ErrorKind::file, [&] { measure_perplexity(model, tokens, {.n_ctx = 32, .baseline = folder / "none"}); }),
      {"none"}));
  CHECK(mentions(refusal(ErrorKind::file,
                         [&] {
                           measure_perplexity(model, tokens,
                                              {.n_ctx = 32, .save_baseline = folder / "no" + std::string("/x")});
                         }),
                 {"cannot create"}));

  PerplexityOptions options{.n_ctx = 16, .save_baseline = folder / "stopped"};
  options.progress = [](int64_t, int64_t, double) { return false; };
  CHECK(mentions(refusal(ErrorKind::interrupted, [&] { measure_perplexity(model, tokens, options); }), {"1 of 4"}));
  PerplexityOptions at_once = options;
  at_once.stop_now = [] { return true; };
  CHECK(mentions(refusal(ErrorKind::interrupted, [&] { measure_perplexity(model, tokens, at_once); }), {"0 of 4"}));
  for (const auto& entry : fs::directory_iterator(folder.path()))
    CHECK_FALSE(entry.path().filename().string().starts_with("stopped"));
}
