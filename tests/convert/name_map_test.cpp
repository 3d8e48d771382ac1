#include "convert/name_map.h"

#include <doctest/doctest.h>

#include "convert/tensor_sizes.h"
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
    config = parse_hf_config(tiny.config.dump(), "config.json");
    read_sizes_off_tensors(checkpoint, config);
    map = map_names(config, checkpoint, keep_mtp);
  }
  const OutputTensor* find(std::string_view name) const {
    for (const OutputTensor& tensor : map.tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  TempDir dir;
  Checkpoint checkpoint;
  HfConfig config;
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
}

TEST_CASE("MTP layers that config.json does not announce are told by their weights") {
  for (const Json& announced : {Json(), Json(0)}) {
    TinyCheckpoint tiny = tiny_v3(false);
    tiny.config["num_nextn_predict_layers"] = announced;
    const Mapped kept(tiny);
    CHECK(kept.map.n_mtp_layers == 1);
    CHECK(kept.find("blk.2.nextn.eh_proj.weight"));
    REQUIRE(kept.map.notes.size() == 1);
    CHECK(contains(kept.map.notes[0], "layer 2 is a multi-token-prediction layer by its weights"));
    CHECK(Mapped(tiny, false).map.n_mtp_layers == 0);
  }
  TinyCheckpoint partial = tiny_v3(false);
  partial.config.erase("num_nextn_predict_layers");
  partial.tensors.erase("model.layers.2.hnorm.weight");
  CHECK(contains(refused(partial), "1 tensor is missing, the first: model.layers.2.hnorm.weight"));
  // A layer too many is no MTP layer.
  TinyCheckpoint deeper = tiny_lite();
  deeper.config["num_hidden_layers"] = 2;
  CHECK(contains(refused(deeper),
                 "not of a deepseek_v2 model with 2 layers, the first: model.safetensors: model.layers.2."));
}

TEST_CASE("sizes that config.json leaves out, and models without shared experts") {
  TinyCheckpoint tiny = tiny_v3(false);
  tiny.config.erase("q_lora_rank");
  tiny.config.erase("n_shared_experts");
  tiny.config.erase("first_k_dense_replace");
  const Mapped mapped(tiny);
  CHECK(mapped.config.n_dense_layers == 1);
  CHECK(mapped.config.q_lora_rank == 48);
  CHECK(mapped.config.n_shared_experts == 1);
  REQUIRE(mapped.config.notes.size() == 3);
  CHECK(contains(mapped.config.notes[0], "config.json leaves out first_k_dense_replace: 1 by the tensors"));
  CHECK(contains(mapped.config.notes[1], "config.json leaves out q_lora_rank: 48 by the tensors"));

  for (const Json& none : {Json(), Json(0)}) {
    TinyCheckpoint without;
    without.config = tiny_lite_config();
    without.config["n_shared_experts"] = none;
    without.add_all_tensors(false);
    CHECK(!Mapped(without).find("blk.1.ffn_gate_shexp.weight"));
    without.config.erase("n_shared_experts");
    CHECK(Mapped(without).config.n_shared_experts == 0);
  }
}

TEST_CASE("experts fused in one tensor: each is cut out, and other layouts are refused") {
  for (const char* suffix : {"", ".weight"}) {
    TinyCheckpoint tiny = tiny_v3(false);
    tiny.fuse_experts(suffix);
    const Mapped mapped(tiny);
    const OutputTensor* up = mapped.find("blk.1.ffn_up_exps.weight");
    REQUIRE(up);
    CHECK(up->shape == Shape(4, 160, 256));
    REQUIRE(up->sources.size() == 4);
    const std::string fused = std::string("model.layers.1.mlp.experts.gate_up_proj") + suffix;
    const SourceTensor* whole = mapped.checkpoint.find(fused);
    CHECK(up->sources[2].weight->bytes.data() == whole->bytes.data() + (2 * 320 + 160) * 256 * 2);
    CHECK(contains(up->sources[2].weight->place(), fused + " expert 2"));
  }
  TinyCheckpoint transposed = tiny_v3(false);
  transposed.fuse_experts();
  transposed.tensors["model.layers.1.mlp.experts.gate_up_proj"].shape = {4, 256, 320};
  CHECK(contains(refused(transposed), "gate_up_proj: expected [4, 320, 256], found [4, 256, 320]"));
}

TEST_CASE("what is missing is told together with what is there instead") {
  TinyCheckpoint mlx = tiny_lite();
  mlx.rename([](std::string name) {
    const size_t at = name.find("experts.3.");
    return at == std::string::npos || name.find("shared") != std::string::npos ? name
                                                                               : name.replace(at, 10, "switch_mlp.");
  });
  CHECK(contains(refused(mlx), "6 tensors are missing, the first: model.layers.1.mlp.experts.3.gate_proj.weight"));
  CHECK(contains(refused(mlx),
                 "found instead 6 tensors of another layout, the first: model.safetensors: "
                 "model.layers.1.mlp.switch_mlp.down_proj.weight BF16 [64, 32] (MLX's layout"));
  TinyCheckpoint lora = tiny_lite();
  lora.add_bf16("model.layers.1.self_attn.q_proj.lora_A.weight", {8, 64});
  CHECK(contains(refused(lora), "(LoRA weights: merge them"));
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
  CHECK(contains(refused(tiny),
                 scale + ": expected [2, 2] (blocks of 128x128), [256, 1] (rows) or one value, found [2, 3]"));
  tiny.tensors[scale] = {"I32", {2, 2}, std::string(16, '\0')};
  CHECK(contains(refused(tiny), scale + ": expected F32, BF16, F16 or F8_E8M0, found I32"));
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
