#include "runtime/model/mtp.h"

#include <doctest/doctest.h>

#include "runtime/model/read_config.h"
#include "runtime/model/weights.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// The last layer once more, as layer 3 and with what a layer for MTP has besides, and copies of what is no layer's: as
// llama.cpp's converter writes mtp-NAME.gguf.
TinyModel mtp_file(const TinyShape& shape = TinyShape::v3()) {
  TinyModel model(shape);
  std::vector<TinyTensor> tensors;
  for (TinyTensor t : model.tensors) {
    if (t.name.starts_with("blk.2.")) t.name = "blk.3." + t.name.substr(6);
    if (t.name.starts_with("blk.3.") || !t.name.starts_with("blk.")) tensors.push_back(t);
  }
  const auto add = [&](const char* role, const Shape& s) {
    tensors.push_back({name::in_layer(3, role), s, std::vector<float>(size_t(s.elems()), 0.5f)});
  };
  add(name::kNextnEhProj, Shape(shape.dim, 2 * shape.dim));
  for (const char* norm : {name::kNextnEnorm, name::kNextnHnorm, name::kNextnSharedHeadNorm})
    add(norm, Shape(shape.dim));
  model.tensors = tensors;
  model.metadata.set(key::kBlockCount, GgufValue::of_u32(4));
  model.metadata.set(key::kNextnPredictLayers, GgufValue::of_u32(1));
  return model;
}

std::string refused_beside(const TinyModel& model, const TinyModel& beside) {
  GgufFile file = model.file();
  return refusal(ErrorKind::model, [&] { add_mtp_file(file, beside.file()); });
}

}  // namespace

TEST_CASE("mtp: a file with the layer alone is told, and added to its model, which gives the same bits") {
  const TinyModel tiny(TinyShape::v3());
  CHECK(first_layer_of_mtp_file(tiny.file()) == -1);
  CHECK(first_layer_of_mtp_file(mtp_file().file()) == 3);

  GgufFile file = tiny.file();
  const size_t n_tensors = file.tensors().size();
  const GgufFile alone = mtp_file().file();
  add_mtp_file(file, GgufFile::open(alone.path()));
  CHECK(file.tensors().size() == n_tensors + alone.tensors().size() - 3);         // without embedding, norm and head
  CHECK(file.metadata().entries().size() == tiny.metadata.entries().size() + 1);  // and the alignment, as it was
  const Tensor& eh_proj = file.tensor("blk.3.nextn.eh_proj.weight");
  CHECK(file.part_of(eh_proj.data) == file.parts()[1].get());
  CHECK(file.parts()[1]->path() == alone.path());
  const ModelConfig c = read_config(file);
  CHECK(c.n_layers == 3);
  CHECK(c.n_mtp_layers == 1);

  const auto tokens = some_tokens(9, tiny.shape.vocab);
  const ModelOptions options{.ops = &cpu_ops("scalar"), .n_threads = 1, .cache_format = FormatId::f32};
  Model with(std::move(file), options), without(tiny.file(), options);
  CHECK(all_logits(with, tokens) == all_logits(without, tokens));
}

TEST_CASE("mtp: a model that counts the layer and left it out takes it too") {
  TinyModel counted(TinyShape::v3());
  counted.metadata.set(key::kBlockCount, GgufValue::of_u32(4));
  counted.metadata.set(key::kNextnPredictLayers, GgufValue::of_u32(1));
  GgufFile file = counted.file();
  add_mtp_file(file, mtp_file().file());
  CHECK(read_config(file).n_layers == 3);
  CHECK(read_config(file).n_mtp_layers == 1);
}

TEST_CASE("mtp: what the file does not say of itself, the model does") {
  TinyModel silent = mtp_file();
  for (const char* key :
       {key::kExpertGatingFunc, key::kExpertWeightsNorm, key::kExpertGroupCount, key::kExpertGroupUsedCount}) {
    silent.metadata.erase(key);
  }
  GgufFile file = TinyModel(TinyShape::v3()).file();
  add_mtp_file(file, silent.file());
  CHECK(read_config(file).n_mtp_layers == 1);
}

TEST_CASE("mtp: a file of another model is refused, by what differs") {
  const TinyModel tiny(TinyShape::v3());
  struct Row {
    const char* key;
    void (*change)(TinyShape& s);
    const char* found;
  };
  const Row rows[] = {
      {key::kEmbeddingLength, [](TinyShape& s) { s.dim = 32; }, "expected 64, found 32"},
      {key::kHeadCount, [](TinyShape& s) { s.n_heads = 2; }, "expected 3, found 2"},
      {key::kVocabSize, [](TinyShape& s) { s.vocab = 299; }, "expected 300, found 299"},
      {key::kQLoraRank, [](TinyShape& s) { s.q_lora = 16; }, "expected 32, found 16"},
      {key::kKvLoraRank, [](TinyShape& s) { s.kv_lora = 64; }, "expected 32, found 64"},
      {key::kRopeDimensionCount, [](TinyShape& s) { s.rope = 4; }, "expected 8, found 4"},
      {key::kKeyLengthMla, [](TinyShape& s) { s.nope = 8; }, "expected 24, found 16"},
      {key::kValueLengthMla, [](TinyShape& s) { s.v = 16; }, "expected 24, found 16"},
      {key::kExpertCount, [](TinyShape& s) { s.n_experts = 16; }, "expected 8, found 16"},
      {key::kExpertSharedCount, [](TinyShape& s) { s.n_shared = 2; }, "expected 1, found 2"},
      {key::kExpertFeedForwardLength, [](TinyShape& s) { s.moe_inter = 64; }, "expected 32, found 64"},
  };
  for (const Row& row : rows) {
    CAPTURE(std::string(row.key));
    TinyShape other = TinyShape::v3();
    row.change(other);
    CHECK(
        mentions(refused_beside(tiny, mtp_file(other)), {"is an MTP layer of another model than", row.key, row.found}));
  }
  TinyShape four = TinyShape::v3();
  four.n_layers = 4;
  CHECK(mentions(refused_beside(TinyModel(four), mtp_file()),
                 {"another model", "layers before those for MTP: expected 4, found 3"}));
  TinyModel tuned = mtp_file();  // R1 beside V3
  tuned.tensor(name::kOutputNorm).values[7] += 0.01f;
  CHECK(mentions(refused_beside(tiny, tuned), {"another model", "expected the same output_norm.weight"}));
}

TEST_CASE("mtp: what is no such file, or a strange one, is refused") {
  const TinyModel tiny(TinyShape::v3());
  CHECK(mentions(refused_beside(tiny, tiny), {"layer for multi-token prediction alone", "found other layers or none"}));
  TinyModel missing = mtp_file();
  missing.take("blk.3.ffn_down_exps.weight");
  CHECK(mentions(refused_beside(tiny, missing), {"tensor blk.3.ffn_down_exps.weight is missing"}));
  TinyModel halved = mtp_file();
  halved.tensor("blk.3.nextn.eh_proj.weight").shape = Shape(128, 64);
  CHECK(mentions(refused_beside(tiny, halved), {"blk.3.nextn.eh_proj.weight: expected [64, 128], found [128, 64]"}));
  TinyModel far = mtp_file();  // a layer that no count of layers has
  for (TinyTensor& t : far.tensors)
    if (t.name.starts_with("blk.3.")) t.name = "blk.9." + t.name.substr(6);
  CHECK(mentions(refused_beside(tiny, far), {"blk.9.", "expected layers 3 to 3, behind the model's own"}));

  GgufFile twice = tiny.file();
  add_mtp_file(twice, mtp_file().file());
  CHECK(mentions(refusal(ErrorKind::model, [&] { add_mtp_file(twice, mtp_file().file()); }), {"has it already"}));
}

TEST_CASE("mtp: a file with the layer alone is no model, and says what it is") {
  const GgufFile file = mtp_file().file();
  CHECK(mentions(refusal(ErrorKind::model, [&] { weight_sizes(file, read_config(file)); }),
                 {"holds a layer for multi-token prediction (blk.3) and no other, expected a model"}));
}
