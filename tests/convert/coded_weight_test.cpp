// Integer weights against what the library compressed-tensors makes of them (tests/golden/quantized_weights), and the
// refusals of tensors that do not fit together.
#include "convert/coded_weight.h"

#include <doctest/doctest.h>

#include "convert/checkpoint.h"
#include "convert/coded_tensors.h"
#include "convert/name_map.h"
#include "convert/source_rows.h"
#include "tests/convert/quantized_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

HfQuantization read_config(const Json& quantization) {
  Json config = tiny_lite_config();
  config["quantization_config"] = quantization;
  return parse_hf_config(config.dump(), "config.json").quantization;
}

std::vector<float> floats_of(const SourceTensor& tensor) {
  std::vector<float> out(size_t(tensor.shape.elems())), row;
  std::vector<std::byte> aligned;
  WeightSource source;
  source.weight = &tensor;
  read_rows(source, 0, tensor.shape.rows(), aligned, out.data());
  return out;
}

// A weight of the golden file, read from row `first` on and in two steps, so that no row depends on its neighbours.
std::vector<float> read_in_two(const WeightSource& source) {
  const int64_t rows = source.rows(), half = rows / 2;
  std::vector<float> out(size_t(rows * source.cols()));
  std::vector<std::byte> aligned;
  read_rows(source, half, rows - half, aligned, out.data() + half * source.cols());
  read_rows(source, 0, half, aligned, out.data());
  return out;
}

bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// One quantized linear layer of 16 outputs and 64 inputs, "X.weight".
struct Layer {
  explicit Layer(const Packing& packing, int64_t rows = 16, int64_t cols = 64) : rows(rows), cols(cols) {
    config = config_of({packing});
    std::mt19937 random(3);
    store(quantized(tiny.gaussian(size_t(rows * cols)), rows, cols, packing, random), packing, "X.", tiny.tensors);
  }
  TinyTensor& operator[](const std::string& part) { return tiny.tensors.at("X." + part); }
  std::string refused() const {
    const TempDir dir;
    tiny.write(dir.path());
    const Checkpoint checkpoint = Checkpoint::open(dir.path());
    return refusal([&] {
      const CodedTensors found = find_coded_weight(checkpoint.tensors(), read_config(config), "X.weight", rows, cols);
      std::vector<float> out(size_t(rows * cols));
      if (found.weight) found.weight->read(0, rows, out.data());
    });
  }
  TinyCheckpoint tiny;
  Json config;
  int64_t rows, cols;
};

}  // namespace

TEST_CASE("integers and FP8 are what compressed-tensors decodes: in F32 to the bit, and rounded to the scale's type") {
  const Checkpoint checkpoint = Checkpoint::open(source_dir() / "tests/golden/quantized_weights");
  const auto compressed = [](int bits, bool symmetric, int64_t group) {
    Json weights = {{"num_bits", bits}, {"type", "int"}, {"symmetric", symmetric}};
    weights["strategy"] = group > 0 ? "group" : group == 0 ? "channel" : "tensor";
    if (group > 0) weights["group_size"] = group;
    return Json{{"quant_method", "compressed-tensors"},
                {"format", "pack-quantized"},
                {"config_groups", {{"group_0", {{"weights", weights}}}}}};
  };
  const auto awq = [](int64_t group) {
    return Json{{"quant_method", "awq"}, {"bits", 4}, {"group_size", group}, {"zero_point", true}};
  };
  const auto gptq = [](int bits, int64_t group, const char* format, bool act_order) {
    return Json{{"quant_method", "gptq"},      {"bits", bits},         {"group_size", group}, {"sym", false},
                {"checkpoint_format", format}, {"desc_act", act_order}};
  };
  const std::pair<const char*, Json> cases[] = {
      {"pack_sym_g128", compressed(4, true, 128)},
      {"pack_asym_g32", compressed(4, false, 32)},
      {"pack_asym_g64_f16", compressed(4, false, 64)},
      {"pack_sym_row_odd", compressed(4, true, 0)},
      {"pack_asym_row_odd", compressed(4, false, 0)},
      {"pack8_sym_row_odd", compressed(8, true, 0)},
      {"pack8_asym_g32", compressed(8, false, 32)},
      {"int8_row", compressed(8, true, 0)},
      {"int8_tensor", compressed(8, true, -1)},
      {"int8_asym_row", compressed(8, false, 0)},
      {"fp8_row", Json()},
      {"fp8_tensor", Json()},
      {"awq_g128", awq(128)},
      {"awq_g32", awq(32)},
      {"gptq_g64", gptq(4, 64, "gptq", false)},
      {"gptq_v2_act_order", gptq(4, 32, "gptq_v2", true)},
      {"gptq8_g32", gptq(8, 32, "gptq", false)},
  };
  for (const auto& [name, config] : cases) {
    CAPTURE(name);
    const std::string stem = std::string(name) + ".";
    const SourceTensor *expected = checkpoint.find(stem + "expected"), *in_f32 = checkpoint.find(stem + "in_f32");
    REQUIRE(expected);
    WeightSource source;
    CodedTensors coded;
    if (config.is_null()) {
      source.weight = checkpoint.find(stem + "weight");
      source.scale = checkpoint.find(stem + "weight_scale");
      set_scale_blocks(source, source.weight->shape.dim[0], {});
    } else {
      coded = find_coded_weight(checkpoint.tensors(), read_config(config), stem + "weight", expected->shape.dim[0],
                                expected->shape.dim[1]);
      REQUIRE(coded.weight);
      source.weight = coded.weight->codes;
      source.coded = coded.weight.get();
    }
    std::vector<float> weights = read_in_two(source);
    CHECK(equal_bits(weights, floats_of(*in_f32)));
    for (float& w : weights) w = as_type(w, expected->dtype->name);
    CHECK(equal_bits(weights, floats_of(*expected)));
  }
}

using P = Packing;

TEST_CASE("tensors of an integer weight that are missing") {
  const std::pair<Packing, std::vector<const char*>> cases[] = {
      {{P::pack_quantized, 4, true, 32, "BF16", true}, {"weight_scale", "weight_zero_point", "weight_g_idx"}},
      {{P::int_quantized, 8, true, 32}, {"weight_scale", "weight_zero_point"}},
      {{P::gptq, 4, true, 32, "F16", true}, {"scales", "qzeros", "g_idx"}},
      {{P::awq, 4, true, 32, "F16"}, {"scales", "qzeros"}},
  };
  for (const auto& [packing, parts] : cases) {
    CAPTURE(packing.text());
    CHECK(Layer(packing).refused() == "");
    for (const char* part : parts) {
      Layer layer(packing);
      layer.tiny.tensors.erase(std::string("X.") + part);
      CHECK(contains(layer.refused(), std::string(": its X.") + part + " is missing"));
    }
  }
}

TEST_CASE("tensors of an integer weight that do not fit together") {
  const auto refused = [](const Packing& packing, const char* part, const TinyTensor& tensor) {
    Layer layer(packing);
    layer[part] = tensor;
    return layer.refused();
  };
  const auto zeros = [](std::vector<int64_t> shape, int size) {
    const size_t n = TinyCheckpoint::count(shape) * size_t(size);
    return std::string(n, '\0');
  };
  const Packing pack = {P::pack_quantized, 4, true, 32}, gptq = {P::gptq, 4, true, 32, "F16"},
                awq = {P::awq, 4, true, 32, "F16"};
  CHECK(contains(refused(pack, "weight_packed", {"I32", {16, 9}, zeros({16, 9}, 4)}),
                 "a weight [16, 64] that is stored as no scheme of config.json says: found [16, 9], scales [16, 2]; "
                 "expected 4 bits, groups of 32, with zeros: [16, 8], scales [16, 2]"));
  CHECK(contains(refused(pack, "weight_packed", {"F32", {16, 8}, zeros({16, 8}, 4)}), "expected I32, found F32"));
  CHECK(contains(refused(pack, "weight_scale", {"BF16", {16, 4}, zeros({16, 4}, 2)}), "found [16, 8], scales [16, 4]"));
  CHECK(contains(refused(pack, "weight_scale", {"I32", {16, 2}, zeros({16, 2}, 4)}),
                 "expected BF16, F16 or F32, found I32"));
  CHECK(contains(refused(pack, "weight_zero_point", {"I32", {3, 2}, zeros({3, 2}, 4)}),
                 "weight_zero_point: expected I32 [2, 2], found I32 [3, 2]"));
  CHECK(contains(refused(pack, "weight_shape", {"I64", {3}, zeros({3}, 8)}),
                 "weight_shape: expected I64 [2], found I64 [3]"));
  CHECK(contains(refused(pack, "weight_shape", {"I64", {2}, zeros({2}, 8)}),
                 "weight_shape: expected [16, 64], found [0, 0]"));
  CHECK(contains(refused(gptq, "qweight", {"I32", {8, 17}, zeros({8, 17}, 4)}), "found [8, 17], scales [2, 16]"));
  CHECK(contains(refused(gptq, "qzeros", {"I32", {2, 3}, zeros({2, 3}, 4)}),
                 "qzeros: expected I32 [2, 2], found I32 [2, 3]"));
  CHECK(contains(refused(gptq, "g_idx", {"I32", {63}, zeros({63}, 4)}), "g_idx: expected I32 [64], found I32 [63]"));
  CHECK(contains(refused(awq, "scales", {"F16", {3, 16}, zeros({3, 16}, 2)}), "scales [3, 16]; expected 4 bits"));
  CHECK(contains(refused(awq, "qzeros", {"I32", {2, 16}, zeros({2, 16}, 4)}), "qzeros: expected I32 [2, 2]"));
}

TEST_CASE("groups that do not divide a row, rows that do not fill a word, and integers that nobody announced") {
  Layer layer({P::pack_quantized, 4, false, 32});
  layer.config["config_groups"]["group_0"]["weights"]["group_size"] = 48;
  CHECK(contains(layer.refused(), "expected 4 bits, groups of 48: which do not divide rows of 64"));
  layer.config["config_groups"]["more"] = {{"weights", {{"num_bits", 8}, {"type", "int"}, {"strategy", "channel"}}}};
  CHECK(contains(layer.refused(), "rows of 64; or 8 bits, a scale for each row: [16, 16], scales [16, 1]"));
  layer.config.erase("config_groups");
  CHECK(contains(layer.refused(), "expected no integers at all"));
  layer.config = {{"quant_method", "fp8"}};
  CHECK(contains(layer.refused(),
                 "X.weight_packed: holds integers, but config.json does not say how they are packed: expected a "
                 "quantization_config of compressed-tensors"));

  Layer gptq({P::gptq, 4, false, 32, "F16"});
  gptq.config = {{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}};
  CHECK(contains(gptq.refused(),
                 "X.qweight: holds integers, but config.json does not say how they are packed: expected a "
                 "quantization_config of gptq or awq (older programs wrote quantize_config.json: it belongs there)"));
  Layer odd({P::pack_quantized, 4, false, 32});
  odd.rows = 12;
  CHECK(contains(odd.refused(), "X.weight_shape: expected [12, 64], found [16, 64]"));
}

TEST_CASE("an index of groups that leads out of them, and scales and zeros that are none") {
  const auto with_index = [](const Packing& packing, const char* part, int32_t group) {
    Layer layer(packing);
    layer[part].bytes.replace(7 * 4, 4, reinterpret_cast<const char*>(&group), 4);
    return layer.refused();
  };
  const Packing gptq = {P::gptq, 4, true, 32, "F16", true}, pack = {P::pack_quantized, 4, true, 32, "BF16", true};
  CHECK(contains(with_index(gptq, "g_idx", 2), "X.g_idx: expected groups 0 to 1, found 2 at [7]"));
  CHECK(contains(with_index(gptq, "g_idx", -1), "found -1 at [7]"));
  CHECK(contains(with_index(pack, "weight_g_idx", 1 << 30), "expected groups 0 to 1, found 1073741824 at [7]"));
  CHECK(with_index(pack, "weight_g_idx", -1) == "");  // compressed-tensors' mark of an index that is not used

  for (const uint16_t bad : {0x7fc0, 0x7f80, 0xff80}) {  // NaN and infinities of BF16
    Layer layer({P::pack_quantized, 4, false, 32});
    layer["weight_scale"].bytes.replace(2 * (5 * 2 + 1), 2, reinterpret_cast<const char*>(&bad), 2);
    CHECK(contains(layer.refused(), "X.weight_scale: expected finite scales, found"));
    CHECK(contains(layer.refused(), "for row 5, group 1"));
  }
  Layer zeros({P::pack_quantized, 4, true, 0, "BF16"});  // one for the whole weight, as a byte
  zeros.config["config_groups"]["group_0"]["weights"]["strategy"] = "tensor";
  zeros["weight_scale"] = {"BF16", {1}, std::string("\0\x3f", 2)};
  zeros["weight_zero_point"] = {"I8", {1}, std::string("\x05", 1)};
  CHECK(zeros.refused() == "");
  zeros["weight_zero_point"].bytes = "\x09";
  CHECK(contains(zeros.refused(), "X.weight_zero_point: expected zeros of 4 bits, found 9 for row 0, group 0"));
}

TEST_CASE("zeros that are all in the middle are none; GPTQ's biases of zeros are left out") {
  Layer layer({P::gptq, 4, false, 32, "F16"});
  const TempDir dir;
  layer.tiny.write(dir.path());
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  Json config = layer.config;
  config["sym"] = false;  // whatever config.json says
  const CodedTensors found = find_coded_weight(checkpoint.tensors(), read_config(config), "X.weight", 16, 64);
  CHECK(found.weight->zero_layout == ZeroLayout::none);
  CHECK(found.weight->group_index == nullptr);

  TinyCheckpoint tiny = quantize_checkpoint(tiny_lite(), {{P::gptq, 4, false, 32, "F16"}}).quantized;
  const auto map = [&] {
    const TempDir place;
    tiny.write(place.path());
    const HfConfig parsed = parse_hf_config(tiny.config.dump(), "config.json");
    return map_names(parsed, Checkpoint::open(place.path()), true).notes;
  };
  tiny.tensors["model.layers.1.self_attn.q_proj.bias"] = {"F16", {48}, std::string(96, '\0')};
  CHECK(map() == std::vector<std::string>{"1 biases that are zero left out"});
  tiny.tensors["model.layers.1.self_attn.q_proj.bias"].bytes[7] = 1;
  CHECK(contains(refusal([&] { map(); }), "1 tensor is not of a deepseek_v2 model with 3 layers, the first: "));
}
