// Every format in a whole model: what it computes with are the weights that the format says, with every table.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "convert/quantize.h"
#include "tests/golden/close_calls.h"
#include "tests/golden/golden.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/random_rows.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// The demo model of the V3 architecture, whose rows suit all formats, in F32.
std::string demo_in_f32() {
  return converted(source_dir() / "demo" / "checkpoint-v3", "f32");
}

// A format that is not encoded: rows of random bits, as large as those in whose places they are.
void write_random_layer(const Format& format, const std::string& output) {
  const GgufFile file = GgufFile::open(demo_in_f32());
  std::vector<GgufTensorPlan> plan;
  for (const Tensor& t : file.tensors()) {
    const bool random = t.name.starts_with("blk.1.") && t.shape.rows() > 1 && format.fits(t.shape.cols()) &&
                        !t.name.ends_with("ffn_gate_inp.weight");
    plan.push_back({t.name, random ? &format : t.format, t.shape});
  }
  GgufMetadata metadata = file.metadata();
  metadata.erase(key::kHearthChecksums);
  metadata.erase(key::kHearthChecksumNames);
  GgufWriter writer(output, metadata, plan);
  std::mt19937 rng(uint32_t(format.id));
  for (size_t i = 0; i < plan.size(); ++i) {
    const Tensor& t = file.tensors()[i];
    if (plan[i].format != &format) {
      writer.write(i, 0, {t.data, t.bytes()});
      continue;
    }
    const size_t row_bytes = format.bytes(t.shape.cols());
    std::vector<std::byte> rows(row_bytes * size_t(t.shape.rows()));
    double squares = 0;
    for (size_t j = 0; j < t.bytes(); j += sizeof(float)) {
      float w;
      std::memcpy(&w, t.data + j, sizeof w);
      squares += double(w) * w;
    }
    const float size = float(std::sqrt(squares / double(t.shape.rows() * t.shape.cols())));
    for (size_t at = 0; at < rows.size(); at += row_bytes) {
      random_row(rng, format, size, rows.data() + at, t.shape.cols());
    }
    writer.write(i, 0, rows);
  }
  writer.finish();
}

// The model, F32 but for the matrices of a layer with experts.
std::string layer_in(const Format& format) {
  static TempDir folder;
  QuantizeOptions options;
  options.input = demo_in_f32();
  options.output = folder / (std::string(format.name) + ".gguf");
  if (!format.encode) {
    write_random_layer(format, options.output);
    return options.output;
  }
  options.recipe = "f32";
  options.tensor_rules = {fmt::format("^blk\\.1\\.={}", format.name)};
  options.n_threads = 2;
  quantize_file(options);
  return options.output;
}

constexpr int64_t kTokens = 8;

std::vector<float> logits_by(const Ops& ops, const std::string& path) {
  Model model(GgufFile::open(path), {.ops = &ops, .n_threads = 2, .cache_format = FormatId::f32});
  return all_logits(model, some_tokens(kTokens, model.config().vocab_size));
}

// Of the activations, which the fast tables round to eight bits for integer formats: measured, at most 0.0106. And how
// far off a router's logits may be then, as a share of the largest: a call closer than that may turn.
constexpr double kRounding = 0.02, kRouterRounding = 0.01;

}  // namespace

TEST_CASE("formats: a layer of each has the logits of its weights stored in F32") {
  int64_t n_clear = 0, n_tokens = 0;
  for (const Format& format : all_formats()) {
    CAPTURE(std::string(format.name));
    const std::string path = layer_in(format);
    int n_matrices = 0;
    const GgufFile file = GgufFile::open(path);
    for (const Tensor& tensor : file.tensors()) {
      n_matrices += tensor.format == &format && tensor.name.starts_with("blk.1.");
    }
    CHECK(n_matrices >= 8);  // all but attn_k_b, whose rows are short, and what recipes keep in F32
    const CloseCalls calls(kRouterRounding);
    const std::vector<float> expected = logits_by(CloseCalls::ops(), decoded(path));
    const std::vector<bool> clear = CloseCalls::clear_tokens();
    const size_t n_vocab = expected.size() / kTokens;
    const auto of_token = [&](const std::vector<float>& all, size_t t) {
      return std::span<const float>(all).subspan(t * n_vocab, n_vocab);
    };
    n_clear += std::ranges::count(clear, true);
    n_tokens += kTokens;
    for (const Ops* ops : available_tables()) {
      CAPTURE(std::string(ops->name));
      const std::vector<float> logits = logits_by(*ops, path);
      if (std::string(ops->name) == "scalar") {
        CHECK(logits == expected);  // to the bit
      } else {
        for (size_t t = 0; t < kTokens; ++t) {
          if (clear[t]) CHECK(relative_error(of_token(logits, t), of_token(expected, t)) < kRounding);
        }
      }
    }
  }
  CHECK(n_clear >= 3 * n_tokens / 4);
}

TEST_CASE("formats: one that is only read is kept by `keep`, and nothing is made in it") {
  const Format& format = format_of(FormatId::iq2_ks);
  const TempDir folder;
  QuantizeOptions options;
  options.input = layer_in(format);
  options.output = folder / "kept.gguf";
  options.recipe = "keep";
  options.n_threads = 2;
  quantize_file(options);
  const GgufFile before = GgufFile::open(options.input), after = GgufFile::open(options.output);
  for (const Tensor& tensor : before.tensors()) {
    CAPTURE(tensor.name);
    const Tensor& now = after.tensor(tensor.name);
    REQUIRE(now.format == tensor.format);
    CHECK(std::memcmp(now.data, tensor.data, tensor.bytes()) == 0);
  }
  options.output = folder / "made.gguf";
  options.tensor_rules = {"^blk\\.2\\.=IQ2_KS"};
  CHECK_THROWS_WITH_AS(quantize_file(options), doctest::Contains("expected one of the formats F32 F16"), Error);
}
