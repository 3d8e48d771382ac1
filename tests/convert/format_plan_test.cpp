#include "convert/format_plan.h"

#include <doctest/doctest.h>

#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

OutputTensor matrix(const std::string& name, Role role, int64_t cols, int64_t layer = 5) {
  OutputTensor tensor;
  tensor.name = name;
  tensor.role = role;
  tensor.layer = layer;
  tensor.shape = Shape(2, cols);
  return tensor;
}

}  // namespace

TEST_CASE("rules come before the recipe, the last that matches counts, and vectors keep their numbers") {
  FormatPlan plan("q4_0", {"ffn_.*_exps=q6_k", "_down_exps=q8_0", "blk\\.5\\.=Q5_K"}, 27);
  const auto choice = [&](const OutputTensor& tensor) { return std::string(plan.choose(tensor).format->name); };
  CHECK(choice(matrix("blk.6.ffn_up_exps.weight", Role::expert_in, 2048)) == "Q6_K");
  CHECK(choice(matrix("blk.6.ffn_down_exps.weight", Role::expert_down, 2048)) == "Q8_0");
  CHECK(choice(matrix("blk.5.ffn_down_exps.weight", Role::expert_down, 2048)) == "Q5_K");
  CHECK(choice(matrix("blk.6.attn_q.weight", Role::query, 2048)) == "Q4_0");
  CHECK(choice(matrix("blk.5.attn_norm.weight", Role::vector, 2048)) == "F32");
}

TEST_CASE("a rule's format falls back as a recipe's does, and the notes count such tensors") {
  FormatPlan plan("q8_0", {"down_exps=q6_k"}, 27);
  for (const char* name : {"blk.5.ffn_down_exps.weight", "blk.6.ffn_down_exps.weight"}) {
    const OutputTensor tensor = matrix(name, Role::expert_down, 1408, name[4] - '0');
    plan.add(tensor, plan.choose(tensor));
  }
  ConvertReport report;
  plan.report(report);
  CHECK(report.notes ==
        std::vector<std::string>{"ffn_down_exps.weight: rows of 1408 do not fit Q6_K (256): Q8_0 (2 tensors)"});
  CHECK(report.bits_per_weight == 8.5);
  CHECK(report.tensors.size() == 2);
  CHECK(plan.tensors()[1].format->id == FormatId::q8_0);
}

TEST_CASE("rules that are none are refused") {
  const auto refused = [](const std::string& rule) { return refusal([&] { tensor_rule(rule); }); };
  CHECK(contains(refused("ffn_down"), "expected PATTERN=FORMAT, ffn_down_exps=q6_k for example, found ffn_down"));
  CHECK(contains(refused("=q6_k"), "expected PATTERN=FORMAT"));
  CHECK(contains(refused("a=b=q7_k"), "a=b=q7_k: expected one of the formats F32 F16 Q4_0"));
  CHECK(contains(refused("a=b=q7_k"), "found q7_k"));
  CHECK(contains(refused("a=i16"), "found i16"));  // listed, not computed
  CHECK(contains(refused("ffn_(down=q6_k"), "ffn_(down=q6_k: expected a regular expression before the ="));

  FormatPlan plan("q8_0", {"up_exps=q6_k"}, 27);
  plan.add(matrix("output.weight", Role::head, 2048, -1), plan.choose(matrix("output.weight", Role::head, 2048, -1)));
  ConvertReport report;
  CHECK(contains(refusal([&] { plan.report(report); }), "up_exps=q6_k: matches none of the 1 tensors"));
}
