#include "convert/name_map.h"

#include <doctest/doctest.h>

#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A written checkpoint, and what the table makes of it.
struct Mapped {
  explicit Mapped(const TinyCheckpoint& tiny, bool keep_mtp = true) {
    tiny.write(dir.path());
    checkpoint = Checkpoint::open(dir.path());
    map = map_names(parse_hf_config(tiny.config.dump(), "config.json"), checkpoint, keep_mtp);
  }
  const OutputTensor* find(std::string_view name) const {
    for (const OutputTensor& tensor : map.tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  TempDir dir;
  Checkpoint checkpoint;
  NameMap map;
};

std::string refused(const TinyCheckpoint& tiny) {
  return refusal([&] { Mapped mapped(tiny); });
}

}  // namespace

TEST_CASE("V2-Lite: names, shapes and order") {
  const Mapped mapped(tiny_lite());
  std::string order;
  for (const OutputTensor& tensor : mapped.map.tensors) order += tensor.name + " " + tensor.shape.text() + "\n";
  const std::string layer0 =
      "blk.0.attn_norm.weight [64]\nblk.0.attn_q.weight [48, 64]\nblk.0.attn_kv_a_mqa.weight [40, 64]\n"
      "blk.0.attn_kv_a_norm.weight [32]\nblk.0.attn_k_b.weight [2, 32, 16]\nblk.0.attn_v_b.weight [2, 24, 32]\n"
      "blk.0.attn_output.weight [64, 48]\nblk.0.ffn_norm.weight [64]\n"
      "blk.0.ffn_gate.weight [96, 64]\nblk.0.ffn_up.weight [96, 64]\nblk.0.ffn_down.weight [64, 96]\n";
  const std::string moe =
      "blk.2.ffn_norm.weight [64]\nblk.2.ffn_gate_inp.weight [4, 64]\nblk.2.ffn_gate_exps.weight [4, 32, 64]\n"
      "blk.2.ffn_up_exps.weight [4, 32, 64]\nblk.2.ffn_down_exps.weight [4, 64, 32]\n"
      "blk.2.ffn_gate_shexp.weight [64, 64]\nblk.2.ffn_up_shexp.weight [64, 64]\nblk.2.ffn_down_shexp.weight [64, 64]\n"
      "output_norm.weight [64]\noutput.weight [10, 64]\n";
  CHECK(order.starts_with("token_embd.weight [10, 64]\n" + layer0 + "blk.1.attn_norm.weight"));
  CHECK(order.ends_with(moe));
  CHECK(mapped.map.notes.empty());
}

TEST_CASE("V3: query latent, bias, and the MTP layer at the end under its own names") {
  const Mapped mapped(tiny_v3(false));
  for (const char* name : {"blk.1.attn_q_a.weight", "blk.1.attn_q_a_norm.weight", "blk.1.attn_q_b.weight",
                           "blk.1.exp_probs_b.bias", "blk.2.attn_kv_a_mqa.weight", "blk.2.ffn_gate_exps.weight",
                           "blk.2.exp_probs_b.bias", "blk.2.nextn.eh_proj.weight", "blk.2.nextn.enorm.weight",
                           "blk.2.nextn.hnorm.weight", "blk.2.nextn.embed_tokens.weight",
                           "blk.2.nextn.shared_head_norm.weight", "blk.2.nextn.shared_head_head.weight"}) {
    CAPTURE(name);
    const OutputTensor* tensor = mapped.find(name);
    REQUIRE(tensor);
    CHECK(tensor->mtp == std::string_view(name).starts_with("blk.2."));
  }
  CHECK(mapped.find("blk.2.nextn.eh_proj.weight")->shape == Shape(256, 512));
  CHECK(mapped.find("blk.1.attn_q.weight") == nullptr);
  CHECK(mapped.map.n_mtp_layers == 1);
  bool seen_mtp = false;  // all others come first
  for (const OutputTensor& tensor : mapped.map.tensors) {
    CHECK((tensor.mtp || !seen_mtp));
    seen_mtp = tensor.mtp;
  }
}

TEST_CASE("MTP layers that are not wanted, or only announced") {
  const Mapped dropped(tiny_v3(false), false);
  CHECK(dropped.map.n_mtp_layers == 0);
  CHECK(dropped.find("blk.2.attn_norm.weight") == nullptr);
  REQUIRE(dropped.map.notes.size() == 1);
  CHECK(contains(dropped.map.notes[0], "left out, as asked"));

  TinyCheckpoint announced = tiny_v3(false);
  std::erase_if(announced.tensors, [](const auto& item) { return item.first.starts_with("model.layers.2."); });
  const Mapped none(announced);
  CHECK(none.map.n_mtp_layers == 0);
  REQUIRE(none.map.notes.size() == 1);
  CHECK(contains(none.map.notes[0], "announces 1 multi-token-prediction layer, the checkpoint holds none"));

  TinyCheckpoint partial = tiny_v3(false);
  partial.tensors.erase("model.layers.2.eh_proj.weight");
  CHECK(contains(refused(partial), "1 tensor is missing, the first: model.layers.2.eh_proj.weight [256, 512]"));

  TinyCheckpoint copies = tiny_v3(false);  // these repeat tensors of the main model
  copies.tensors.erase("model.layers.2.embed_tokens.weight");
  copies.tensors.erase("model.layers.2.shared_head.head.weight");
  CHECK(Mapped(copies).map.n_mtp_layers == 1);

  TinyCheckpoint unannounced = tiny_v3(false);
  unannounced.config.erase("num_nextn_predict_layers");
  CHECK(contains(refused(unannounced), "not of a deepseek_v3 model with 2 layers, the first: "));
}

TEST_CASE("tied embeddings need no head") {
  TinyCheckpoint tiny = tiny_lite();
  tiny.config["tie_word_embeddings"] = true;
  const Mapped both(tiny);
  CHECK(both.find("output.weight") == nullptr);
  REQUIRE(both.map.notes.size() == 1);
  CHECK(contains(both.map.notes[0], "lm_head.weight left out"));
  tiny.tensors.erase("lm_head.weight");
  CHECK(Mapped(tiny).map.notes.empty());
  tiny.config["tie_word_embeddings"] = false;
  CHECK(contains(refused(tiny), "1 tensor is missing, the first: lm_head.weight [10, 64]"));
}

TEST_CASE("missing tensors are counted and the first is named") {
  TinyCheckpoint tiny = tiny_lite();
  tiny.tensors.erase("model.layers.1.mlp.experts.3.up_proj.weight");
  tiny.tensors.erase("model.layers.2.self_attn.kv_b_proj.weight");  // two tensors of the file come from it
  CHECK(contains(refused(tiny),
                 "3 tensors are missing, the first: model.layers.1.mlp.experts.3.up_proj.weight [32, 64]"));
}

TEST_CASE("wrong shapes and types are named with expected and found") {
  TinyCheckpoint tiny = tiny_lite();
  tiny.add_bf16("model.layers.1.self_attn.kv_b_proj.weight", {32, 80});
  CHECK(contains(refused(tiny),
                 "model.safetensors: model.layers.1.self_attn.kv_b_proj.weight: expected [80, 32], found [32, 80]"));
  tiny = tiny_lite();
  tiny.add_bf16("model.norm.weight", {1, 64});
  CHECK(contains(refused(tiny), "model.norm.weight: expected [64], found [1, 64]"));
  tiny = tiny_lite();
  tiny.tensors["model.norm.weight"] = {"I64", {64}, std::string(512, '\0')};
  CHECK(contains(refused(tiny), "model.norm.weight: expected BF16, F16, F32 or F8_E4M3, found I64"));
}

TEST_CASE("FP8 weights need their scales, and scales their weights") {
  const std::string name = "model.layers.0.self_attn.o_proj.weight", scale = name + "_scale_inv";
  TinyCheckpoint tiny = tiny_v3(true);
  CHECK(Mapped(tiny).find("blk.0.attn_output.weight")->sources[0].scale->name == scale);

  tiny.tensors.erase(scale);
  CHECK(contains(refused(tiny), name + ": is F8_E4M3, but " + scale + " is missing"));
  tiny.add_f32(scale, {2, 3});
  CHECK(contains(refused(tiny), scale + ": expected [2, 2] (blocks of 128x128), found [2, 3]"));
  tiny.add_bf16(scale, {2, 2});
  CHECK(contains(refused(tiny), scale + ": expected F32, found BF16"));
  tiny.add_f32(scale, {2, 2});
  tiny.add_bf16(name, {256, 256});
  CHECK(contains(refused(tiny), "1 tensor is not of a deepseek_v3 model"));
  CHECK(contains(refused(tiny), scale));

  tiny = tiny_v3(true);
  tiny.tensors["model.norm.weight"] = {"F8_E4M3", {256}, std::string(256, '\0')};
  CHECK(contains(refused(tiny), "model.norm.weight: expected BF16, F16 or F32 for a vector, found F8_E4M3"));
}

TEST_CASE("tensors that the table does not know are refused, rotary frequencies are not") {
  TinyCheckpoint tiny = tiny_lite();
  tiny.add_f32("model.layers.1.self_attn.rotary_emb.inv_freq", {4});
  const Mapped mapped(tiny);
  REQUIRE(mapped.map.notes.size() == 1);
  CHECK(contains(mapped.map.notes[0], "1 rotary_emb.inv_freq"));

  tiny.add_bf16("model.layers.1.self_attn.q_proj.bias", {48});
  tiny.add_bf16("vision_tower.weight", {4});
  CHECK(contains(refused(tiny),
                 "2 tensors are not of a deepseek_v2 model with 3 layers, the first: "
                 "model.safetensors: model.layers.1.self_attn.q_proj.bias BF16 [48]"));
}
