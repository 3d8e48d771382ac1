#include "convert/importance.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "quant/gguf_keys.h"
#include "tests/support/paths.h"
#include "tests/support/refusal.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr float kMany = 1e6f;

struct Entry1 {
  std::string name;
  std::vector<float> sums, counts;
};

// A model of two layers whose rows are 32 wide, and importance that somebody gathered.
struct Weighing {
  std::vector<GgufTensorPlan> tensors = {plan("token_embd.weight", Shape(8, 32)),
                                         plan("blk.0.attn_k_b.weight", Shape(2, 4, 32)),
                                         plan("blk.0.attn_v_b.weight", Shape(2, 4, 32)),
                                         plan("blk.0.attn_output.weight", Shape(8, 32)),
                                         plan("blk.1.ffn_gate_exps.weight", Shape(3, 4, 32)),
                                         plan("blk.1.ffn_down_exps.weight", Shape(3, 4, 32))};
  TempDir dir;

  static GgufTensorPlan plan(const std::string& name, const Shape& shape, FormatId format = FormatId::q4_0) {
    return {name, &format_of(format), shape};
  }
  const GgufTensorPlan& tensor(const std::string& name) const {
    return *std::ranges::find(tensors, name, &GgufTensorPlan::name);
  }
  Importance from(const std::vector<Entry1>& entries) const {
    std::vector<ImportanceSums> sums;
    for (const Entry1& entry : entries) sums.push_back({entry.name, entry.sums, entry.counts});
    write_importance(dir / "i.gguf", sums, {"text.txt"}, 3, 512);
    return Importance(dir / "i.gguf", tensors);
  }
  std::string refused(const std::vector<Entry1>& entries) const {
    return refusal([&] { from(entries); });
  }
};

// n matrices of 32 columns: column c of matrix m has (m + 1) * (c + 1) as its mean over `counts[m]` tokens.
std::vector<float> ramps(const std::vector<float>& counts) {
  std::vector<float> sums;
  for (size_t m = 0; m < counts.size(); ++m) {
    for (int c = 0; c < 32; ++c) sums.push_back(counts[m] * float(m + 1) * float(c + 1));
  }
  return sums;
}

// The two are the same but for a factor, which does not matter to an encoder.
void check_proportional(const float* weights, const std::vector<float>& expected) {
  const double a = std::accumulate(weights, weights + 32, 0.0);
  const double b = std::accumulate(expected.begin(), expected.end(), 0.0);
  for (int c = 0; c < 32; ++c) CHECK(weights[c] / a == doctest::Approx(expected[size_t(c)] / b).epsilon(1e-4));
}

}  // namespace

TEST_CASE("weights of columns: by matrix, by head and by expert, with a floor") {
  const Weighing model;
  std::vector<float> one = ramps({kMany});
  one[5] = 0;
  const Importance importance =
      model.from({{"blk.0.attn_output.weight", one, {kMany}},
                  {"blk.0.attn_k_b.weight", ramps({kMany, kMany}), {kMany, kMany}},
                  {"blk.0.attn_v_b.weight", ramps({kMany, kMany}), {kMany}},
                  {"blk.1.ffn_gate_exps.weight", ramps({kMany, kMany, kMany}), {kMany, kMany, kMany}}});
  const ColumnWeights output = importance.of(model.tensor("blk.0.attn_output.weight"));
  CHECK(output.of_row(0) == output.of_row(7));
  CHECK(output.of_row(0)[5] > 0);
  CHECK(output.of_row(0)[5] == doctest::Approx(Importance::kFloor * 16.3 * kMany).epsilon(1e-2));
  CHECK(output.of_row(0)[6] == doctest::Approx(7 * kMany));
  for (const char* name : {"blk.0.attn_k_b.weight", "blk.0.attn_v_b.weight"}) {
    const ColumnWeights heads = importance.of(model.tensor(name));
    CHECK(heads.of_row(3) == heads.of_row(0));
    CHECK(heads.of_row(4) == heads.of_row(0) + 32);
    CHECK(heads.of_row(4)[3] == 2 * heads.of_row(0)[3]);
  }
  const ColumnWeights experts = importance.of(model.tensor("blk.1.ffn_gate_exps.weight"));
  CHECK(experts.of_row(11) == experts.of_row(0) + 64);
  CHECK(experts.of_row(8)[31] == doctest::Approx(96).epsilon(1e-3));
  CHECK(!importance.of(model.tensor("token_embd.weight")));
  CHECK(!importance.of(Weighing::plan("blk.0.attn_output.weight", Shape(8, 32), FormatId::bf16)));
  CHECK(importance.notes().size() == 1);
  CHECK(contains(importance.notes()[0], "1 tensor is not in it"));
  CHECK(contains(importance.notes()[0], "blk.1.ffn_down_exps.weight"));
}

TEST_CASE("an expert that saw few tokens is weighed like the layer's others, its inner columns alike") {
  const Weighing model;
  // The third expert saw nothing, the second as many tokens as the rule adds.
  const std::vector<float> counts = {kMany, kFewTokens, 0};
  const Importance importance = model.from(
      {{"blk.1.ffn_gate_exps.weight", ramps(counts), counts}, {"blk.1.ffn_down_exps.weight", ramps(counts), counts}});
  std::vector<float> ramp(32), half_flat(32);
  for (int c = 0; c < 32; ++c) {
    ramp[size_t(c)] = float(c + 1);
    half_flat[size_t(c)] = (float(c + 1) + 16.5f) / 2;
  }
  const ColumnWeights in = importance.of(model.tensor("blk.1.ffn_gate_exps.weight"));
  for (const int64_t row : {0, 4, 8}) check_proportional(in.of_row(row), ramp);
  CHECK(in.of_row(4)[0] == doctest::Approx((2 + 1) / 2.0).epsilon(1e-3));  // half its own mean, half that of all
  const ColumnWeights down = importance.of(model.tensor("blk.1.ffn_down_exps.weight"));
  check_proportional(down.of_row(0), ramp);
  check_proportional(down.of_row(4), half_flat);
  check_proportional(down.of_row(8), std::vector<float>(32, 1.0f));
  const std::vector<std::string> notes = importance.notes();
  REQUIRE(notes.size() == 2);
  CHECK(contains(notes[1], "1 of 1 x 3 experts saw fewer than 32 tokens, 1 of them none"));
}

TEST_CASE("a .dat file: an expert whose values are all the same saw nothing") {
  const Weighing model;
  std::vector<float> values = ramps({1, 1, 1});
  std::fill(values.begin() + 32, values.begin() + 64, 5.0f);  // 1, times calls
  const std::string name = "blk.1.ffn_gate_exps.weight";
  std::string text;
  const auto number = [&](auto x) { text.append(reinterpret_cast<const char*>(&x), sizeof x); };
  number(int32_t(1));
  number(int32_t(name.size()));
  text += name;
  number(int32_t(5));
  number(int32_t(values.size()));
  for (const float value : values) number(value);
  write_text(model.dir / "i.dat", text);
  const Importance importance(model.dir / "i.dat", model.tensors);
  const ColumnWeights weights = importance.of(model.tensor(name));
  std::vector<float> ramp(32);
  for (int c = 0; c < 32; ++c) ramp[size_t(c)] = float(c + 1);
  for (const int64_t row : {0, 4, 8}) check_proportional(weights.of_row(row), ramp);
}

TEST_CASE("other layouts of the same model: what enters a matrix under another name") {
  Weighing model;
  const auto v_b = model.from({{"blk.0.attn_kv_b.weight", ramps({1}), {1}}});
  const ColumnWeights from_whole = v_b.of(model.tensor("blk.0.attn_v_b.weight"));
  CHECK(from_whole.of_row(0) == from_whole.of_row(7));
  CHECK(from_whole.of_row(0)[3] == 4);
  CHECK(!v_b.of(model.tensor("blk.0.attn_k_b.weight")));

  model.tensors[1] = Weighing::plan("blk.0.attn_kv_b.weight", Shape(16, 32));
  model.tensors[2] = Weighing::plan("blk.1.ffn_gate_up_exps.weight", Shape(3, 8, 32));
  const std::vector<float> counts = {kMany, kMany, kMany};
  const auto old = model.from({{"blk.0.attn_v_b.weight", ramps({1, 1}), {1}},
                               {"blk.0.attn_k_b.weight", {1, 2, 3}, {1}},
                               {"blk.1.ffn_up_exps.weight", ramps(counts), counts},
                               {"output.weight", {1}, {1}},
                               {"blk.2.ffn_down_exps.weight", {1}, {1}}});  // of an MTP layer
  const ColumnWeights kv_b = old.of(model.tensors[1]);
  CHECK(kv_b.of_row(0) == kv_b.of_row(15));
  CHECK(kv_b.of_row(0)[9] == 30);  // 10 of the first head, 20 of the second
  CHECK(old.of(model.tensors[2]).of_row(23)[31] == doctest::Approx(96).epsilon(1e-3));

  // Heads and rows in one axis.
  model.tensors[1] = Weighing::plan("blk.0.attn_k_b.weight", Shape(8, 32));
  const ColumnWeights flat = model.from({{"blk.0.attn_k_b.weight", ramps({1, 1}), {1}}}).of(model.tensors[1]);
  CHECK(flat.of_row(3)[0] == 1);
  CHECK(flat.of_row(4)[0] == 2);
}

TEST_CASE("importance of another model is refused") {
  const Weighing model;
  const auto check = [&](const std::vector<Entry1>& entries, const std::vector<std::string>& parts) {
    const std::string said = model.refused(entries);
    CHECK_MESSAGE(contains(said, "i.gguf: is importance of another model: "), said);
    for (const std::string& part : parts) CHECK_MESSAGE(contains(said, part), said);
  };
  check({{"blk.0.attn_output.weight", std::vector<float>(64, 1.0f), {1}}},
        {"blk.0.attn_output.weight: expected 1 x 32 values, found 64"});
  check({{"blk.1.ffn_gate_exps.weight", ramps({1, 1}), {1, 1}}},
        {"blk.1.ffn_gate_exps.weight: expected 3 x 32 values, found 2 x 32"});
  check({{"blk.0.attn_kv_b.weight", ramps({1, 1}), {1, 1}}}, {"attn_kv_b", "expected 1 x 32", "found 2 x 32"});
  check({{"blk.0.attn_k.weight", ramps({1}), {1}}, {"blk.0.attn_v.weight", ramps({1}), {1}}},
        {"layers 0 to 1", "found blk.0.attn_k.weight and 1 others"});
  check({{"blk.7.attn_output.weight", ramps({1}), {1}}}, {"found blk.7.attn_output.weight"});
  const auto bad = model.from({{"blk.0.attn_output.weight", std::vector<float>(32, -1.0f), {1}}});
  CHECK(contains(refusal([&] { bad.of(model.tensor("blk.0.attn_output.weight")); }), "expected sums of squares"));
}

TEST_CASE("the file that is made tells by what importance") {
  const Weighing model;
  model.from({{"blk.0.attn_output.weight", ramps({1}), {1}}});
  GgufMetadata metadata;
  std::vector<std::string> notes;
  const auto importance = open_importance(model.dir / "i.gguf", model.tensors, metadata, notes);
  REQUIRE(importance);
  CHECK(notes == importance->notes());
  CHECK(metadata.string("quantize.imatrix.file") == model.dir / "i.gguf");
  CHECK(metadata.string("quantize.imatrix.dataset") == "text.txt");
  CHECK(metadata.unsigned_integer("quantize.imatrix.entries_count") == 1);
  CHECK(metadata.unsigned_integer("quantize.imatrix.chunks_count") == 3);
  CHECK(importance->settings() != model.from({{"blk.0.attn_output.weight", ramps({2}), {1}}}).settings());
  CHECK(!open_importance("", model.tensors, metadata, notes));
}
