#include "convert/size_target.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "convert/format_plan.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Units = std::vector<std::vector<FormatOption>>;

struct Sum {
  uint64_t bytes = 0;
  double loss = 0;
};
Sum sum_of(const Units& units, const std::vector<size_t>& chosen) {
  Sum sum;
  for (size_t u = 0; u < units.size(); ++u) {
    sum.bytes += units[u][chosen[u]].bytes;
    sum.loss += units[u][chosen[u]].loss;
  }
  return sum;
}

// The least loss within so many bytes, by trying everything.
double best_loss(const Units& units, uint64_t bytes, size_t u = 0) {
  if (u == units.size()) return 0;
  double best = INFINITY;
  for (const FormatOption& option : units[u]) {
    if (option.bytes <= bytes) best = std::min(best, option.loss + best_loss(units, bytes - option.bytes, u + 1));
  }
  return best;
}

Units random_units(std::mt19937& rng) {
  Units units(4);
  for (auto& unit : units) {
    uint64_t bytes = 100 + rng() % 100;
    double loss = 1 + rng() % 100;
    for (int i = 0; i < 5; ++i) {
      unit.push_back({&format_of(FormatId::q8_0), bytes, loss});
      bytes += 10 + rng() % 60;
      loss *= 0.2 + 0.01 * double(rng() % 90);  // up to 1.1: a larger one may be worse
    }
  }
  return units;
}

// A matrix of random weights, whose formats are to be chosen.
class Weights : public RowMaker {
 public:
  Weights(int64_t cols, float scale, int seed) : cols_(cols), weights_(size_t(64 * cols)) {
    std::mt19937 rng{uint32_t(seed)};
    std::normal_distribution<float> normal(0, scale);
    for (float& w : weights_) w = normal(rng);
  }
  void encode(int64_t first, int64_t n, Scratch&, std::byte* blocks) const override {
    std::memcpy(blocks, weights_.data() + first * cols_, size_t(n * cols_) * sizeof(float));
  }
  int64_t n_clamped() const override { return 0; }
  uint64_t source_bytes(int64_t, int64_t) const override { return 0; }
  void will_need(int64_t, int64_t) const override {}
  void dont_need(int64_t, int64_t) const override {}
  void release() const override {}

 private:
  int64_t cols_;
  std::vector<float> weights_;
};

OutputTensor output(const std::string& name, Role role, int64_t layer, int64_t cols = 512) {
  OutputTensor tensor;
  tensor.name = name;
  tensor.role = role;
  tensor.layer = layer;
  tensor.shape = Shape(64, cols);
  return tensor;
}

std::unique_ptr<RowMaker> rows_of(const OutputTensor& tensor, const Format& format) {
  REQUIRE(format.id == FormatId::f32);
  return std::make_unique<Weights>(tensor.shape.cols(), 0.02f, int(tensor.name.size() + size_t(tensor.layer)));
}

const std::vector<OutputTensor>& some_tensors() {
  static const std::vector<OutputTensor> tensors = {
      output("output.weight", Role::head, -1),
      output("blk.1.attn_k_b.weight", Role::latent, 1, 128),
      output("blk.1.attn_output.weight", Role::attn_output, 1),
      output("blk.1.ffn_gate_exps.weight", Role::expert_in, 1),
      output("blk.1.ffn_up_exps.weight", Role::expert_in, 1),
      output("blk.1.ffn_down_exps.weight", Role::expert_down, 1),
      output("blk.1.ffn_down_exps.odd.weight", Role::expert_down, 1, 96),
  };
  return tensors;
}

}  // namespace

TEST_CASE("what fits is chosen: never more bytes than there are, and little more loss than the best choice has") {
  std::mt19937 rng(5);
  double greedy = 0, best = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const Units units = random_units(rng);
    uint64_t least = 0;
    for (const auto& unit : units) least += unit.front().bytes;
    const uint64_t bytes = least + rng() % 500;
    const Sum sum = sum_of(units, choose_within(units, bytes));
    CHECK(sum.bytes <= bytes);
    const double possible = best_loss(units, bytes);
    CHECK(sum.loss >= possible - 1e-9);
    greedy += sum.loss, best += possible;
  }
  CHECK(greedy < 1.1 * best);  // measured: 1.04
}

TEST_CASE(
    "with room for everything each unit gets the option with the least loss; with room for nothing it is refused") {
  std::mt19937 rng(6);
  const Units units = random_units(rng);
  const Sum all = sum_of(units, choose_within(units, UINT64_MAX / 2));
  CHECK(all.loss == doctest::Approx(best_loss(units, UINT64_MAX / 2)));
  uint64_t least = 0;
  for (const auto& unit : units) least += unit.front().bytes;
  CHECK_NOTHROW(choose_within(units, least));
  CHECK(contains(refusal([&] { choose_within(units, least - 1); }), std::to_string(least)));
}

TEST_CASE("formats are measured: larger files lose less, experts may have few bits, gate and up have the same") {
  const std::vector<OutputTensor>& all = some_tensors();
  std::vector<OpenTensor> tensors;
  for (const OutputTensor& tensor : all)
    tensors.push_back({&tensor, [&tensor](const Format& format) { return rows_of(tensor, format); }, {}});
  const auto bytes_of = [&](const SizeTarget& target) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < tensors.size(); ++i) bytes += 64 * target.formats[i]->bytes(all[i].shape.cols());
    return bytes;
  };
  double last_loss = INFINITY;
  uint64_t last_bytes = 0;
  for (const uint64_t bytes : {70'000, 80'000, 100'000, 140'000}) {
    CAPTURE(bytes);
    const SizeTarget target = fit_formats(tensors, 2, bytes + 1000, 1000, 2);
    CHECK(bytes_of(target) <= bytes);
    CHECK(bytes_of(target) > last_bytes);
    CHECK(target.loss < last_loss);
    CHECK(target.formats[1]->id == FormatId::q8_0);
    CHECK(target.formats[3] == target.formats[4]);
    CHECK(target.formats[0]->bits_per_weight() >= 4.25);
    CHECK(target.formats[6]->block_elems == 32);
    last_loss = target.loss, last_bytes = bytes_of(target);
  }
  CHECK(contains(refusal([&] { fit_formats(tensors, 2, 20'000, 0, 1); }), "the least possible"));
}

TEST_CASE("a file's size: what rules name is theirs, vectors stay, and what is left is fitted") {
  std::vector<OutputTensor> tensors = some_tensors();
  tensors.push_back(output("blk.1.attn_norm.weight", Role::vector, 1));
  MakingOptions options;
  options.tensor_rules = {"attn_output=q6_k"};
  options.target_bytes = 400'000;
  std::vector<std::string> notes;
  const auto formats = fit_to_size(
      options, {}, tensors, [&](size_t i, const Format& f) { return rows_of(tensors[i], f); }, 2, notes);
  CHECK(formats.size() == 6);
  CHECK(!formats.contains("blk.1.attn_output.weight"));
  CHECK(!formats.contains("blk.1.attn_norm.weight"));
  REQUIRE(notes.size() == 1);
  CHECK(contains(notes[0], "formats fitted to 400000 bytes"));
  FormatPlan plan(options.base_recipe(), options.tensor_rules, 2);
  plan.fit(formats);
  for (const OutputTensor& tensor : tensors) plan.add(tensor, plan.choose(tensor));
  CHECK(plan.tensors()[2].format->id == FormatId::q6_k);
  CHECK(gguf_file_bytes({}, plan.tensors()) <= 400'000);
  CHECK(gguf_file_bytes({}, plan.tensors()) > 300'000);
  options.target_bytes = 10'000;
  CHECK(contains(refusal([&] {
                   fit_to_size(
                       options, {}, tensors, [&](size_t i, const Format& f) { return rows_of(tensors[i], f); }, 2,
                       notes);
                 }),
                 "the least possible, found 10000"));
}
