#include "runtime/eval/inspect.h"

#include <doctest/doctest.h>

#include "runtime/model/weights.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/runtime/eval/facts.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/runtime/tokenizer/vocabulary.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("inspect: tensors are told by their role") {
  const std::pair<const char*, TensorRole> expected[] = {
      {"token_embd.weight", TensorRole::embedding},
      {"output.weight", TensorRole::head},
      {"output_norm.weight", TensorRole::norms},
      {"blk.0.attn_norm.weight", TensorRole::norms},
      {"blk.1.attn_q_a_norm.weight", TensorRole::norms},
      {"blk.1.attn_q.weight", TensorRole::attention},
      {"blk.12.attn_kv_b.weight", TensorRole::attention},
      {"blk.1.ffn_gate_inp.weight", TensorRole::router},
      {"blk.1.exp_probs_b.bias", TensorRole::router},
      {"blk.0.ffn_gate.weight", TensorRole::dense_ffn},
      {"blk.1.ffn_up_shexp.weight", TensorRole::shared_experts},
      {"blk.1.ffn_gate_up_exps.weight", TensorRole::routed_experts},
      {"blk.13.attn_q.weight", TensorRole::mtp},
      {"blk.13.nextn.eh_proj.weight", TensorRole::mtp},
      {"something.weight", TensorRole::other},
      {"blk.1.odd.weight", TensorRole::other},
  };
  for (const auto& [tensor, role] : expected) {
    CAPTURE(tensor);
    CHECK(std::string(tensor_role_name(tensor_role(tensor, 13))) == tensor_role_name(role));
  }
}

TEST_CASE("inspect: counts parameters, active ones and bits") {
  TinyModel tiny(TinyShape::v2());
  uint64_t total = 0, active = 0;
  for (const auto& t : tiny.tensors) {
    total += t.values.size();
    if (t.name == name::kTokenEmbd) continue;
    active += t.name.find("_exps.") == std::string::npos ? t.values.size() : t.values.size() / 8 * 3;
  }
  TinyTensor extra = tiny.tensor("blk.2.attn_norm.weight");
  extra.name = "blk.3.nextn.enorm.weight";
  tiny.tensors.push_back(extra);
  for (auto& t : tiny.tensors) {
    if (t.name.find("_exps.") != std::string::npos) t.format = FormatId::q8_0;
  }
  const InspectReport r = inspect(tiny.file());
  CHECK(r.n_parameters == total);
  CHECK(r.n_active_parameters == active);
  CHECK(r.n_tensors == int64_t(tiny.tensors.size()));
  CHECK(r.file_bytes > r.tensor_bytes);
  CHECK(r.bits_per_weight > 8.5);
  CHECK(r.bits_per_weight < 32);
  uint64_t bytes = 0;
  bool experts = false;
  for (const auto& g : r.groups) {
    bytes += g.bytes;
    if (g.role != TensorRole::routed_experts) continue;
    experts = true;
    CHECK(g.format->id == FormatId::q8_0);
    CHECK(g.n_tensors == 6);
    CHECK(g.n_parameters == 2 * 3 * 8 * 32 * 64);
  }
  CHECK(experts);
  CHECK(bytes == r.tensor_bytes);
  REQUIRE(r.config.has_value());
  CHECK(fact(r.model, "routing") == "softmax, 2 of 4 groups by maximum, scaled by 4");
  CHECK(fact(r.model, "layers") == "1 dense, 2 with experts, 1 for MTP (not run)");
  CHECK(fact(r.model, "experts") == "3 of 8 routed, 2 shared, 32 wide");
  CHECK(fact(r.model, "layout") == "attn_k_b and attn_v_b");
  CHECK(fact(r.origin, "checksums") == "none");
  CHECK(r.vocabulary.empty());
}

TEST_CASE("inspect: shows a vocabulary, and what cannot be run says why") {
  TinyModel tiny;
  const GgufMetadata vocabulary = SmallVocabulary().metadata();
  for (const auto& [key, value] : vocabulary.entries()) tiny.metadata.set(key, value);
  tiny.metadata.set(key::kArchitecture, GgufValue::of_string("llama"));
  tiny.metadata.set(key::kHearthSource, GgufValue::of_string("somebody/some-model"));
  tiny.metadata.set(key::kHearthRecipe, GgufValue::of_u32(3));  // not a string
  const InspectReport r = inspect(tiny.file());
  CHECK_FALSE(r.config.has_value());
  CHECK(r.why_not.find("llama") != std::string::npos);
  CHECK(r.n_parameters > 0);
  CHECK(r.n_active_parameters == 0);
  CHECK(fact(r.vocabulary, "tokenizer") == "gpt2, deepseek-llm");
  CHECK(fact(r.vocabulary, "begin") == "0 <｜begin▁of▁sentence｜>");
  CHECK(fact(r.vocabulary, "chat") == "no template");
  CHECK(fact(r.origin, "error").find("hearth.recipe") != std::string::npos);
}

// A model with two tensors of a format that is only listed, one of a type that nobody knows, and an MTP layer's norm of
// such a type, which stops nobody.
TEST_CASE("inspect: formats that are not computed are shown, and are why the model does not run here") {
  TempDir dir;
  TinyShape shape;
  shape.dim = 256;
  TinyModel tiny(shape);
  TinyTensor extra = tiny.tensor("blk.2.attn_norm.weight");
  extra.name = "blk.3.nextn.enorm.weight";
  tiny.tensors.push_back(extra);
  tiny.save(dir / "x.gguf");
  std::string text = read_text(dir / "x.gguf");
  for (const char* name : {"blk.1.ffn_up_exps.weight", "blk.1.ffn_gate_exps.weight"}) text = with_type(text, name, 15);
  text = with_type(text, "blk.3.nextn.enorm.weight", 999);
  write_text(dir / "mtp.gguf", with_type(read_text(dir / "x.gguf"), "blk.3.nextn.enorm.weight", 999));
  write_text(dir / "x.gguf", with_type(text, "blk.0.attn_output.weight", 999));

  const GgufFile file = GgufFile::open(dir / "x.gguf");
  const InspectReport r = inspect(file);
  REQUIRE(r.config.has_value());
  CHECK(r.why_not ==
        "3 tensors in formats that are not computed here: 2 Q8_K, 1 type 999; the first is "
        "blk.0.attn_output.weight");
  const auto group = std::ranges::find_if(r.groups, [](const TensorGroup& g) { return g.format->id == FormatId(15); });
  REQUIRE(group != r.groups.end());
  CHECK(group->n_tensors == 2);
  CHECK(group->bytes == 2 * 8 * 32 * 292);
  CHECK(mentions(refusal(ErrorKind::model, [&] { Model(GgufFile::open(dir / "x.gguf"), {.ops = &cpu_ops("scalar")}); }),
                 {"x.gguf", "3 tensors", "Q8_K"}));
  CHECK(inspect(GgufFile::open(dir / "mtp.gguf")).why_not == "");
  CHECK(Model(GgufFile::open(dir / "mtp.gguf"), {.ops = &cpu_ops("scalar")}).config().n_mtp_layers == 1);

  // A plan is made by bytes.
  uint64_t bytes = 0;
  for (const WeightSize& w : weight_sizes(file, *r.config))
    bytes += w.name == "blk.0.attn_output.weight" ? w.bytes() : 0;
  CHECK(bytes == 256 * 3 * 24 * 4);
}

TEST_CASE("inspect: what was guessed, and layers for MTP") {
  TinyModel tiny;
  tiny.metadata.erase(key::kExpertWeightsScale);
  tiny.metadata.set(key::kBlockCount, GgufValue::of_u32(4));
  tiny.metadata.set(key::kNextnPredictLayers, GgufValue::of_u32(1));
  const InspectReport r = inspect(tiny.file());
  CHECK(fact(r.model, "layers") == "1 dense, 2 with experts, 1 for MTP (not run)");
  CHECK(fact(r.model, "guessed").find("deepseek2.expert_weights_scale is missing: assumed 1") == 0);
  CHECK(r.why_not == "");
}

TEST_CASE("inspect: a tensor that nothing asks for is why a model does not run") {
  TinyModel tiny;
  tiny.tensors.push_back({"blk.3.attn_norm.weight", Shape(8), std::vector<float>(8)});
  CHECK(inspect(tiny.file()).why_not.find("blk.3.attn_norm.weight") != std::string::npos);
}
