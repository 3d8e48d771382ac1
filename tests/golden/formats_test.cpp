// Every format in a whole model: what it computes with are the weights that the format says, with every table.
#include <doctest/doctest.h>

#include "convert/quantize.h"
#include "tests/golden/golden.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// The demo model of the V3 architecture, whose rows suit all formats: F32 but for the matrices of a layer with experts.
std::string layer_in(const Format& format) {
  static TempDir folder;
  QuantizeOptions options;
  options.input = converted(source_dir() / "demo" / "checkpoint-v3", "f32");
  options.output = folder / (std::string(format.name) + ".gguf");
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

// Of the activations, which the fast tables round to eight bits for integer formats. Measured: at most 0.010, but for
// one token whose router decides otherwise.
constexpr double kRounding = 0.02;

// Tokens whose logits are off by more.
int64_t n_off(std::span<const float> logits, std::span<const float> expected, size_t n_vocab) {
  int64_t n = 0;
  for (size_t at = 0; at < logits.size(); at += n_vocab) {
    n += !(relative_error(logits.subspan(at, n_vocab), expected.subspan(at, n_vocab)) < kRounding);
  }
  return n;
}

}  // namespace

TEST_CASE("formats: a layer of each has the logits of its weights stored in F32") {
  for (const Format& format : all_formats()) {
    if (!format.encode) continue;
    CAPTURE(std::string(format.name));
    const std::string path = layer_in(format);
    int n_matrices = 0;
    const GgufFile file = GgufFile::open(path);
    for (const Tensor& tensor : file.tensors()) {
      n_matrices += tensor.format == &format && tensor.name.starts_with("blk.1.");
    }
    CHECK(n_matrices >= 8);  // all but attn_k_b, whose rows are short, and what recipes keep in F32
    const std::vector<float> expected = logits_by(cpu_ops("scalar"), decoded(path));
    for (const Ops* ops : available_tables()) {
      CAPTURE(std::string(ops->name));
      const std::vector<float> logits = logits_by(*ops, path);
      if (std::string(ops->name) == "scalar") {
        CHECK(logits == expected);  // to the bit
      } else {
        CHECK(n_off(logits, expected, logits.size() / kTokens) <= 1);
      }
    }
  }
}
