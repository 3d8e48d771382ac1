#include "runtime/model/kv_layout.h"

#include <doctest/doctest.h>

#include "runtime/model/read_config.h"
#include "runtime/model/weights.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Rows of 256, so that every format fits.
TinyShape wide_latent() {
  TinyShape s = TinyShape::v2();
  s.kv_lora = 256;
  s.nope = 32;
  return s;
}

TinyModel unsplit(const TinyShape& shape = TinyShape::v2()) {
  TinyModel model(shape);
  model.make_old_layout();
  return model;
}

TinyModel with_both(const TinyShape& shape = TinyShape::v2()) {
  TinyModel model(shape);
  model.add_kv_b();
  return model;
}

std::vector<float> logits_of(const TinyModel& tiny, const Ops& ops, AttentionForm form) {
  Model model(tiny.file(), {.ops = &ops, .n_threads = 1, .cache_format = FormatId::f32, .attention = form});
  return all_logits(model, some_tokens(9, tiny.shape.vocab));
}

void check_same_logits(const TinyModel& a, const TinyModel& b) {
  for (const Ops* ops : available_tables()) {
    for (const AttentionForm form : {AttentionForm::absorbed, AttentionForm::naive}) {
      CAPTURE(std::string(ops->name));
      CHECK(logits_of(a, *ops, form) == logits_of(b, *ops, form));
    }
  }
}

void set_format(TinyModel& model, const char* role, FormatId format) {
  for (TinyTensor& t : model.tensors)
    if (t.name.ends_with(role)) t.format = format;
}

// As a file of `format` has them: what is written and read back.
void round_rows(TinyTensor& t, const Format& format) {
  const int64_t cols = t.shape.cols();
  std::vector<std::byte> row(format.bytes(cols));
  for (int64_t i = 0; i < t.shape.rows(); ++i) {
    format.encode(t.values.data() + i * cols, nullptr, row.data(), cols);
    format.decode(row.data(), t.values.data() + i * cols, cols);
  }
}

// The split model that an unsplit one of quantized attn_kv_b is read as: W^UK of the decoded values, in F16.
TinyModel split_of_quantized(const TinyShape& shape, FormatId format) {
  TinyModel split(shape), old = unsplit(shape);
  for (int i = 0; i < shape.n_layers; ++i) {
    TinyTensor kv_b = old.tensor(name::in_layer(i, name::kAttnKvB));
    round_rows(kv_b, format_of(format));
    TinyTensor& k_b = split.tensor(name::in_layer(i, name::kAttnKB));
    for (int64_t h = 0; h < shape.n_heads; ++h)
      for (int64_t j = 0; j < shape.kv_lora; ++j)
        for (int64_t row = 0; row < shape.nope; ++row)
          k_b.values[size_t((h * shape.kv_lora + j) * shape.nope + row)] =
              kv_b.values[size_t((h * (shape.nope + shape.v) + row) * shape.kv_lora + j)];
  }
  set_format(split, name::kAttnKB, FormatId::f16);
  set_format(split, name::kAttnVB, format);
  return split;
}

std::string refused_weights(const TinyModel& tiny) {
  const GgufFile file = tiny.file();
  return refusal(ErrorKind::model, [&] { weight_sizes(file, read_config(file)); });
}

std::string note_of(const TinyModel& tiny) {
  const GgufFile file = tiny.file();
  return kv_layout_note(file, read_config(file));
}

}  // namespace

TEST_CASE("kv layout: told by the tensors present, layer by layer") {
  const auto text = [](const TinyModel& model) { return kv_layout_text(model.file(), 3); };
  CHECK(kv_layout(TinyModel().file(), 1) == KvLayout::split);
  CHECK(kv_layout(unsplit().file(), 1) == KvLayout::unsplit);
  CHECK(kv_layout(with_both().file(), 1) == KvLayout::both);
  CHECK(text(TinyModel()) == "attn_k_b and attn_v_b");
  CHECK(text(unsplit()) == "attn_kv_b in one piece");
  CHECK(text(with_both()) == "attn_k_b and attn_v_b, and attn_kv_b, which is not used");
  const auto word = [](const TinyModel& model) { return kv_layout_name(model.file(), 3); };
  CHECK(word(TinyModel()) == "split");
  CHECK(word(unsplit()) == "unsplit");
  CHECK(word(with_both()) == "both");
  TinyModel none;
  std::erase_if(none.tensors, [](const TinyTensor& t) { return t.name.starts_with("blk."); });
  CHECK(word(none) == "none");
  CHECK(text(none) == "");

  TinyModel mixed = with_both();
  mixed.take("blk.0.attn_k_b.weight");
  mixed.take("blk.0.attn_v_b.weight");
  mixed.take("blk.2.attn_kv_b.weight");
  CHECK(word(mixed) == "mixed");
  CHECK(text(mixed) ==
        "attn_k_b and attn_v_b in 1 of 3 layers; attn_kv_b in one piece in 1 of 3 layers; "
        "attn_k_b and attn_v_b, and attn_kv_b, which is not used in 1 of 3 layers");
  check_same_logits(mixed, TinyModel());
}

TEST_CASE("kv layout: each gives the bits of the ordinary file where weights are not quantized") {
  for (const FormatId format : {FormatId::f32, FormatId::f16, FormatId::bf16}) {
    CAPTURE(std::string(format_of(format).name));
    TinyModel models[] = {TinyModel(TinyShape::v2()), unsplit(), with_both()};
    for (TinyModel& model : models) {
      for (const char* role : {name::kAttnKB, name::kAttnVB, name::kAttnKvB}) set_format(model, role, format);
    }
    check_same_logits(models[1], models[0]);
    check_same_logits(models[2], models[0]);
  }
}

TEST_CASE("kv layout: a quantized attn_kv_b gives the bits of its own values, the keys' in F16") {
  for (const FormatId format : {FormatId::q8_0, FormatId::q5_0, FormatId::q4_k, FormatId::q6_k}) {
    CAPTURE(std::string(format_of(format).name));
    TinyModel old = unsplit(wide_latent());
    set_format(old, name::kAttnKvB, format);
    check_same_logits(old, split_of_quantized(wide_latent(), format));
  }
}

TEST_CASE("kv layout: of the values of an attn_kv_b, half is taken, and as it is in the file") {
  TinyModel old = unsplit(wide_latent());
  set_format(old, name::kAttnKvB, FormatId::q4_k);
  const GgufFile file = old.file();
  const ModelConfig c = read_config(file);
  const Tensor& kv_b = file.tensor("blk.1.attn_kv_b.weight");
  const Weights in_place = load_weights(file, c, host_device());
  CHECK(in_place.layers[1].attn_v_b.row(0, 0) == kv_b.data + size_t(c.qk_nope_head_dim) * kv_b.row_bytes());
  CHECK(in_place.layers[1].attn_v_b.row(2, 1) ==
        kv_b.data + size_t(2 * (c.qk_nope_head_dim + c.v_head_dim) + c.qk_nope_head_dim + 1) * kv_b.row_bytes());
  uint64_t owned = 0;
  for (const auto& bytes : in_place.owned) owned += bytes.size();
  CHECK(owned == uint64_t(3 * c.n_heads * c.kv_lora_rank * c.qk_nope_head_dim * 2));

  uint64_t keys = 0, values = 0, whole = 0;
  for (const WeightSize& w : weight_sizes(file, c)) {
    if (w.name == "blk.1.attn_k_b.weight") keys = w.bytes();
    if (w.name == "blk.1.attn_v_b.weight") values = w.bytes();
    if (w.name == kv_b.name) whole = w.bytes();
  }
  CHECK(keys == uint64_t(c.n_heads * c.kv_lora_rank * c.qk_nope_head_dim * 2));
  CHECK(values == uint64_t(c.n_heads * c.v_head_dim) * kv_b.row_bytes());
  CHECK(whole == 0);  // never in a memory of the backend's own
}

TEST_CASE("kv layout: an attn_kv_b of another shape is refused, also where it is not used") {
  for (TinyModel model : {unsplit(), with_both()}) {
    TinyTensor& kv_b = model.tensor("blk.1.attn_kv_b.weight");
    kv_b.shape = Shape(3 * (16 + 24) / 2, 2 * 32);
    CHECK(mentions(refused_weights(model), {"blk.1.attn_kv_b.weight: expected [120, 32], found [60, 64]"}));
  }
  TinyModel transposed;  // as before llama.cpp's kernels: dn and r the other way round
  transposed.tensor("blk.1.attn_k_b.weight").shape = Shape(3, 16, 32);
  CHECK(mentions(refused_weights(transposed), {"blk.1.attn_k_b.weight: expected [3, 32, 16], found [3, 16, 32]"}));
  TinyModel half;
  half.take("blk.1.attn_v_b.weight");
  CHECK(mentions(refused_weights(half), {"tensor blk.1.attn_v_b.weight is missing"}));
}

TEST_CASE("kv layout: where attn_kv_b is not used, its format does not matter") {
  const TempDir dir;
  with_both().save(dir / "x.gguf");
  write_text(dir / "x.gguf", with_type(read_text(dir / "x.gguf"), "blk.1.attn_kv_b.weight", 999));
  const GgufFile file = GgufFile::open(dir / "x.gguf");
  CHECK(not_computed(file, read_config(file)) == "");
  unsplit().save(dir / "y.gguf");
  write_text(dir / "y.gguf", with_type(read_text(dir / "y.gguf"), "blk.1.attn_kv_b.weight", 999));
  const GgufFile used = GgufFile::open(dir / "y.gguf");
  CHECK(mentions(not_computed(used, read_config(used)), {"1 tensor", "type 999", "blk.1.attn_kv_b.weight"}));
}

TEST_CASE("kv layout: what is made in memory is said") {
  CHECK(note_of(TinyModel()) == "");
  CHECK(note_of(with_both()) == "");
  TinyModel old = unsplit();
  set_format(old, name::kAttnKvB, FormatId::q8_0);
  CHECK(note_of(old) ==
        "attn_kv_b is in one piece, as in files from before April 2025: its keys are transposed into memory "
        "(9.00 KiB of F16), its values are used as they lie");
}
