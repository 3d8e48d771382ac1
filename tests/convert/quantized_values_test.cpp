// What becomes of checkpoints whose weights are integers already: every value of the file, against the same weights in
// floats.
#include <doctest/doctest.h>

#include "convert/convert.h"
#include "quant/gguf.h"
#include "tests/convert/quantized_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct File {
  File(const TinyCheckpoint& tiny, const std::string& recipe) {
    tiny.write(dir.path() / "checkpoint", 2);
    ConvertOptions options;
    options.checkpoint_dir = dir.path() / "checkpoint";
    options.output = dir / "out.gguf";
    options.recipe = recipe;
    options.n_threads = 2;
    report = convert_checkpoint(options);
    gguf = GgufFile::open(options.output);
  }
  std::vector<float> values(const std::string& name) const {
    const Tensor& tensor = gguf.tensor(name);
    std::vector<float> values(size_t(tensor.shape.elems()));
    tensor.format->decode(tensor.data, values.data(), tensor.shape.elems());
    return values;
  }
  std::string format(const std::string& name) const { return gguf.tensor(name).format->name; }
  bool says(std::string_view part) const {
    return std::ranges::any_of(report.notes, [&](auto& note) { return contains(note, part); });
  }
  TempDir dir;
  ConvertReport report;
  GgufFile gguf;
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

double rms_off(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    norm += double(b[i]) * b[i];
  }
  return std::sqrt(error / norm);
}

const TinyCheckpoint& v3_with_mtp() {
  static const TinyCheckpoint tiny = [] {
    TinyCheckpoint t;
    t.config = tiny_v3_config();
    t.config.update(Json{{"hidden_size", 128},
                         {"qk_nope_head_dim", 64},
                         {"v_head_dim", 64},
                         {"moe_intermediate_size", 64},
                         {"n_routed_experts", 2},
                         {"n_group", 1},
                         {"num_experts_per_tok", 1}});
    t.add_all_tensors(false);
    return t;
  }();
  return tiny;
}

using P = Packing;
const std::vector<Packing>& packings() {
  static const std::vector<Packing> all = {
      {P::pack_quantized, 4, false, 128, "BF16"},
      {P::pack_quantized, 4, false, 32, "F16"},
      {P::pack_quantized, 4, true, 64, "BF16"},
      {P::pack_quantized, 4, true, 0, "F32"},
      {P::pack_quantized, 8, false, 0, "BF16"},
      {P::pack_quantized, 8, true, 128, "BF16"},
      {P::pack_quantized, 4, true, 32, "BF16", true},
      {P::int_quantized, 8, false, 0, "BF16"},
      {P::int_quantized, 8, true, 32, "F32"},
      {P::int_quantized, 4, false, 32, "BF16"},
      {P::gptq, 4, false, 128, "F16"},
      {P::gptq, 4, true, 32, "F16"},
      {P::gptq, 4, false, 0, "F16"},
      {P::gptq, 4, true, 128, "F16", true},
      {P::gptq, 8, false, 32, "F16"},
      {P::gptq_v2, 4, true, 64, "F16"},
      {P::gptq_v2, 8, true, 128, "BF16"},
      {P::awq, 4, true, 128, "F16"},
      {P::awq, 4, true, 32, "BF16"},
      {P::awq, 4, true, 0, "F16"},
  };
  return all;
}

}  // namespace

TEST_CASE("integers in F32: bit for bit (code - zero) * scale, in every packing") {
  for (const Packing& packing : packings()) {
    CAPTURE(packing.text());
    const QuantizedPair pair = quantize_checkpoint(v3_with_mtp(), {packing});
    CHECK(pair.n > 15);
    const File file(pair.quantized, "f32"), meant(pair.floats, "f32");
    REQUIRE(file.gguf.tensors().size() == meant.gguf.tensors().size());
    for (const Tensor& tensor : meant.gguf.tensors()) {
      CAPTURE(tensor.name);
      CHECK(same(file.values(tensor.name), meant.values(tensor.name)));
    }
  }
}

// What recipe keep makes of attn_output, a matrix [128, 128].
TEST_CASE("keep: the smallest format that holds the codes, else the type that the checkpoint's programs decode to") {
  const struct {
    Packing packing;
    const char *format, *note;
  } kept[] = {
      {{P::pack_quantized, 4, false, 128, "BF16"}, "I4_G128", "keep the checkpoint's 4-bit codes (I4_G128)"},
      {{P::gptq, 4, false, 0, "F16"}, "I4_G128", "keep the checkpoint's 4-bit codes (I4_G128)"},
      {{P::pack_quantized, 4, false, 64, "F16"}, "Q4_0", "keep the checkpoint's 4-bit codes (Q4_0)"},
      {{P::int_quantized, 4, false, 32, "BF16"}, "Q8_0", "keep the checkpoint's 8-bit codes (Q8_0)"},
      {{P::int_quantized, 8, false, 0, "BF16"}, "Q8_0", "keep the checkpoint's 8-bit codes (Q8_0)"},
      {{P::gptq_v2, 8, false, 64, "F16"}, "Q8_0", "keep the checkpoint's 8-bit codes (Q8_0)"},
      {{P::pack_quantized, 8, true, 128, "BF16"},
       "BF16",
       "in 8-bit codes with zeros are decoded to BF16: no format has"},
      {{P::gptq, 4, false, 64, "F16", true}, "F16", "decoded to F16: the columns of a group are scattered (act-order)"},
      {{P::pack_quantized, 4, false, 16, "BF16"}, "BF16", "decoded to BF16: no format has these codes in these groups"},
  };
  for (const auto& [packing, format, note] : kept) {
    CAPTURE(packing.text());
    const QuantizedPair pair = quantize_checkpoint(v3_with_mtp(), {packing});
    const File file(pair.quantized, "keep"), meant(pair.floats, "f32");
    CHECK(file.format("blk.0.attn_output.weight") == format);
    CHECK(file.says(note));
    for (const Tensor& tensor : meant.gguf.tensors()) {
      CAPTURE(tensor.name);
      std::vector<float> values = meant.values(tensor.name);
      const std::string stored = file.format(tensor.name);
      // As the libraries: the product is rounded to the scale's type.
      if (stored == "BF16" || stored == "F16") {
        for (float& value : values) value = as_type(value, stored);
      }
      CHECK(same(file.values(tensor.name), values));
    }
  }
}

TEST_CASE("4 bits with zeros: Q4_1 rounds scale * zero to F16 and says what that costs, Q8_0 and F8_E4M3 hold all") {
  for (const Packing& packing : {Packing{P::awq, 4, true, 128, "F16"}, Packing{P::pack_quantized, 4, true, 128, "BF16"},
                                 Packing{P::gptq_v2, 4, true, 128, "F16"}}) {
    CAPTURE(packing.text());
    const QuantizedPair pair = quantize_checkpoint(v3_with_mtp(), {packing});
    const File meant(pair.floats, "f32"), keep(pair.quantized, "keep"), q8(pair.quantized, "q8_0"),
        fp8(pair.quantized, "fp8");
    const std::vector<float> weights = meant.values("blk.0.attn_output.weight");
    CHECK(keep.format("blk.0.attn_output.weight") == "Q4_1");
    const std::vector<float> kept = keep.values("blk.0.attn_output.weight");
    const double error = rms_off(kept, weights);
    CHECK(error < 0x1p-9);  // 2^-11 of scale * zero, which is less than four times the weights
    // 8 bits of BF16's scale and 3 of zeros near the middle are F16's 11.
    const bool exact_here = packing.scale_type == "BF16";
    CHECK((error == 0) == exact_here);
    CHECK(keep.says("F16 rounds a scale, or scale * zero: their weights are off by 0.0") == !exact_here);
    CHECK(keep.says("keep the checkpoint's 4-bit codes with zeros (Q4_1)"));
    for (const File* exact : {&q8, &fp8}) {
      CHECK(same(exact->values("blk.0.attn_output.weight"), weights));
      CHECK_FALSE(exact->says("F16 rounds"));
    }
    CHECK(q8.format("blk.1.ffn_gate_exps.weight") == "Q8_0");
    CHECK(same(q8.values("blk.1.ffn_gate_exps.weight"), meant.values("blk.1.ffn_gate_exps.weight")));
    // Across the groups: encoded anew.
    CHECK(rms_off(q8.values("blk.0.attn_k_b.weight"), meant.values("blk.0.attn_k_b.weight")) > 1e-3);
    CHECK(q8.says("encoded anew, which loses a second time; recipe keep keeps what it has"));
  }
}

TEST_CASE("scales in F32, and those that F16 cannot hold, are rounded and the error is told, or refused") {
  const Packing packing = {P::pack_quantized, 4, false, 128, "F32"};
  QuantizedPair pair = quantize_checkpoint(v3_with_mtp(), {packing});
  const File meant(pair.floats, "f32"), keep(pair.quantized, "keep");
  CHECK(keep.format("blk.0.attn_output.weight") == "I4_G128");
  const double error = rms_off(keep.values("blk.0.attn_output.weight"), meant.values("blk.0.attn_output.weight"));
  CHECK(error > 0);
  CHECK(error < 0x1p-11);
  CHECK(keep.says("F16 rounds a scale"));

  TinyTensor& scales = pair.quantized.tensors.at("model.layers.0.self_attn.o_proj.weight_scale");
  const float large = 1e6f;
  scales.bytes.replace(20, 4, reinterpret_cast<const char*>(&large), 4);
  CHECK(contains(refusal([&] { File(pair.quantized, "keep"); }),
                 "model.layers.0.self_attn.o_proj.weight_scale: the scale of a group in row 5 is too large for F16 "
                 "(65504): found 1000000"));
  CHECK(refusal([&] { File(pair.quantized, "bf16"); }) == "");
}

TEST_CASE("another recipe's format that holds the codes takes them, whichever recipe it is") {
  const QuantizedPair g128 = quantize_checkpoint(v3_with_mtp(), {{P::gptq, 4, false, 128, "F16"}});
  const QuantizedPair g32 = quantize_checkpoint(v3_with_mtp(), {{P::pack_quantized, 4, false, 32, "BF16"}});
  const File int4(g128.quantized, "int4"), q4_0(g32.quantized, "q4_0"), q4_k(g128.quantized, "q4_k_m");
  const std::string gate = "blk.1.ffn_gate_exps.weight";
  CHECK(int4.format(gate) == "I4_G128");
  CHECK(same(int4.values(gate), File(g128.floats, "f32").values(gate)));
  CHECK(q4_0.format(gate) == "Q4_0");
  CHECK(same(q4_0.values(gate), File(g32.floats, "f32").values(gate)));
  CHECK(q4_k.format(gate) == "Q5_0");
  const double error = rms_off(q4_k.values(gate), File(g128.floats, "f32").values(gate));
  CHECK(error > 0.01);
  CHECK(error < 0.08);
}

TEST_CASE("mixed schemes: attention in FP8, experts in 4 bits, shared experts in 8, the rest in BF16") {
  const std::vector<Packing> schemes = {{P::pack_quantized, 4, false, 32, "BF16"},
                                        {P::pack_quantized, 8, false, 0, "BF16"}};
  QuantizedPair pair = quantize_checkpoint(v3_with_mtp(), schemes, [&](const std::string& name) -> const Packing* {
    if (contains(name, "shared_experts")) return &schemes[1];
    return contains(name, "mlp.experts.") ? &schemes[0] : nullptr;
  });
  pair.quantized.config["quantization_config"]["config_groups"]["attention"] = {
      {"targets", {"re:.*self_attn.*"}},
      {"format", "float-quantized"},
      {"weights", {{"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"strategy", "channel"}}},
      {"input_activations", {{"num_bits", 8}, {"type", "float"}, {"dynamic", true}, {"strategy", "token"}}}};
  for (auto& [name, tensor] : pair.floats.tensors) {
    if (!contains(name, "self_attn") || !contains(name, "_proj")) continue;
    const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
    std::string codes;
    std::vector<float> scales = pair.floats.gaussian(size_t(rows)), weights;
    for (float& scale : scales) scale = as_type(0.01f * (1 + std::abs(scale)), "BF16");
    for (int64_t i = 0; i < rows * cols; ++i) {
      codes += char(i * 31 % 0x7f);
      weights.push_back(e4m3_to_float(uint8_t(codes.back())) * scales[size_t(i / cols)]);
    }
    pair.quantized.tensors[name] = {"F8_E4M3", {rows, cols}, codes};
    pair.quantized.tensors[name + "_scale"] = {"BF16", {rows, 1}, bf16_bytes(scales)};
    tensor = {"F32", {rows, cols}, f32_bytes(weights)};
  }
  const File keep(pair.quantized, "keep"), meant(pair.floats, "f32");
  const std::pair<const char*, const char*> formats[] = {
      {"blk.0.attn_output.weight", "F8_E4M3"}, {"blk.0.attn_k_b.weight", "BF16"},
      {"blk.0.attn_v_b.weight", "F8_E4M3"},    {"blk.1.ffn_gate_exps.weight", "Q4_0"},
      {"blk.1.ffn_up_shexp.weight", "Q8_0"},   {"blk.0.ffn_gate.weight", "BF16"},
      {"blk.2.ffn_down_exps.weight", "Q4_0"},  {"output.weight", "BF16"},
      {"blk.1.ffn_gate_inp.weight", "F32"},
  };
  for (const auto& [name, format] : formats) {
    CAPTURE(name);
    CHECK(keep.format(name) == format);
    std::vector<float> weights = meant.values(name);
    if (keep.format(name) == "BF16") {
      for (float& w : weights) w = as_type(w, "BF16");
    }
    CHECK(same(keep.values(name), weights));
  }
  CHECK(keep.says("config.json has activations quantized too (input_activations): left aside"));
  CHECK(keep.says("keep the checkpoint's FP8 (F8_E4M3)"));
  CHECK(keep.says("in FP8 are decoded to BF16: their rows run across the checkpoint's groups"));
}

TEST_CASE("keep on floats keeps their types; experts of several types become F32") {
  TinyCheckpoint tiny = v3_with_mtp();
  const std::vector<float> some = tiny.gaussian(64 * 128);
  tiny.tensors["model.layers.1.mlp.experts.1.up_proj.weight"] = {"F16", {64, 128}, f16_bytes(some)};
  tiny.tensors["lm_head.weight"] = {"F16", {10, 128}, f16_bytes(tiny.gaussian(1280))};
  const File keep(tiny, "keep");
  CHECK(keep.format("blk.1.ffn_up_exps.weight") == "F32");
  CHECK(keep.format("blk.1.ffn_gate_exps.weight") == "BF16");
  CHECK(keep.format("output.weight") == "F16");
  CHECK(keep.format("output_norm.weight") == "F32");
}

TEST_CASE("a plan tells of each tensor what becomes of its codes, and is exact") {
  const QuantizedPair pair = quantize_checkpoint(v3_with_mtp(), {{P::awq, 4, true, 128, "F16"}});
  const File keep(pair.quantized, "keep");
  CHECK(fs::file_size(keep.dir / "out.gguf") == keep.report.file_bytes);
  const auto note_of = [&](std::string_view name) {
    return std::ranges::find(keep.report.tensors, name, &ConvertPlanRow::name)->note;
  };
  CHECK(note_of("blk.0.attn_output.weight") == "4-bit codes with zeros kept");
  CHECK(note_of("blk.0.attn_k_b.weight") == "4-bit codes with zeros decoded");
  CHECK(note_of("output.weight") == "");
}

TEST_CASE("the number of threads changes no byte of what is kept") {
  const QuantizedPair pair = quantize_checkpoint(v3_with_mtp(), {{P::gptq, 4, true, 32, "F16"}});
  std::string one;
  for (const int threads : {1, 3}) {
    const TempDir dir;
    pair.quantized.write(dir.path() / "checkpoint", 1);
    ConvertOptions options;
    options.checkpoint_dir = dir.path() / "checkpoint";
    options.output = dir / "out.gguf";
    options.recipe = "keep";
    options.n_threads = threads;
    convert_checkpoint(options);
    const std::string bytes = read_text(dir / "out.gguf");
    if (threads == 1) one = bytes;
    CHECK(bytes == one);
  }
}
