// What a form does not hold is rounded once, as its definition says, and the error is told.
#include <doctest/doctest.h>

#include "tests/convert/export_place.h"
#include "tests/support/text_file.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Tensors = std::map<std::string, TinyTensor>;

template <class T>
T element(const TinyTensor& tensor, int64_t i) {
  T value;
  std::memcpy(&value, tensor.bytes.data() + size_t(i) * sizeof value, sizeof value);
  return value;
}

std::vector<float> bf16_values(const TinyTensor& tensor) {
  std::vector<float> values;
  for (size_t i = 0; i < tensor.bytes.size() / 2; ++i)
    values.push_back(bf16_to_float(element<uint16_t>(tensor, int64_t(i))));
  return values;
}

// By the definitions of the formats: docs/exporting.md.
std::vector<float> fp8_values(const Tensors& tensors, const std::string& weight) {
  const TinyTensor &codes = tensors.at(weight), &scales = tensors.at(weight + "_scale_inv");
  const int64_t rows = codes.shape[0], cols = codes.shape[1], per_row = (cols + 127) / 128;
  REQUIRE(scales.shape == std::vector<int64_t>{(rows + 127) / 128, per_row});
  REQUIRE(scales.dtype == "F32");
  std::vector<float> values;
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float scale = element<float>(scales, i / cols / 128 * per_row + i % cols / 128);
    values.push_back(e4m3_to_float(element<uint8_t>(codes, i)) * scale);
  }
  return values;
}

std::vector<float> int4_values(const Tensors& tensors, const std::string& module) {
  const TinyTensor &packed = tensors.at(module + ".weight_packed"), &scales = tensors.at(module + ".weight_scale");
  const TinyTensor& shape = tensors.at(module + ".weight_shape");
  REQUIRE(packed.dtype == "I32");
  REQUIRE(scales.dtype == "F16");
  REQUIRE(shape.dtype == "I64");
  const int64_t rows = element<int64_t>(shape, 0), cols = element<int64_t>(shape, 1);
  REQUIRE(packed.shape == std::vector<int64_t>{rows, cols / 8});
  REQUIRE(scales.shape == std::vector<int64_t>{rows, cols / 128});
  std::vector<float> values;
  for (int64_t i = 0; i < rows * cols; ++i) {
    const int code = int(element<uint32_t>(packed, i / 8) >> (i % 8 * 4) & 0xf) - 8;
    values.push_back(float(code) * fp16_to_float(element<uint16_t>(scales, i / 128)));
  }
  return values;
}

double relative_rms(const std::vector<float>& meant, const std::vector<float>& is) {
  REQUIRE(meant.size() == is.size());
  double error = 0, square = 0;
  for (size_t i = 0; i < meant.size(); ++i) {
    error += (double(is[i]) - meant[i]) * (double(is[i]) - meant[i]);
    square += double(meant[i]) * meant[i];
  }
  return std::sqrt(error / square);
}

}  // namespace

TEST_CASE("FP8: the largest weight of a block of 128 x 128 is 448 times its scale, the others the nearest codes") {
  ExportPlace place(blocky_v3(false));
  const Tensors from = tensors_in(place.checkpoint());
  const Tensors to = tensors_in(place.exported(place.checkpoint(), ExportFormat::kFp8));
  for (const char* module : {"model.layers.1.mlp.experts.3.down_proj", "model.layers.0.self_attn.kv_b_proj",
                             "model.layers.2.self_attn.kv_a_proj_with_mqa"}) {  // the last: 144 rows, a block of 16
    const std::string weight = std::string(module) + ".weight";
    CAPTURE(weight);
    const std::vector<float> meant = bf16_values(from.at(weight)), is = fp8_values(to, weight);
    const int64_t rows = from.at(weight).shape[0], cols = from.at(weight).shape[1];
    for (int64_t block = 0; block < (rows + 127) / 128 * (cols / 128); ++block) {
      const int64_t first_row = block / (cols / 128) * 128, first_col = block % (cols / 128) * 128;
      float largest = 0;
      for (int64_t r = first_row; r < std::min(rows, first_row + 128); ++r) {
        for (int64_t c = first_col; c < first_col + 128; ++c)
          largest = std::max(largest, std::abs(meant[r * cols + c]));
      }
      CHECK(element<float>(to.at(weight + "_scale_inv"), block) == largest / 448);
      for (int64_t r = first_row; r < std::min(rows, first_row + 128); ++r) {
        for (int64_t c = first_col; c < first_col + 128; ++c) {
          const float x = meant[r * cols + c], step = std::max(std::abs(x) / 8, largest / 448 / 512);
          REQUIRE(std::abs(is[r * cols + c] - x) <= 0.5001f * step);
        }
      }
    }
  }
}

TEST_CASE("a file whose FP8 scales are of rows is encoded anew, and the error told is the error made") {
  ExportPlace place(blocky_v3(false));
  const std::string file = place.converted(place.checkpoint(), "fp8");
  const Tensors to = tensors_in(place.exported(file, ExportFormat::kFp8));
  const GgufFile opened = GgufFile::open(file);
  const Tensor& experts = opened.tensor("blk.1.ffn_down_exps.weight");
  REQUIRE(experts.format->id == FormatId::f8_e4m3);
  std::vector<float> meant(size_t(256 * 128)), is = fp8_values(to, "model.layers.1.mlp.experts.0.down_proj.weight");
  experts.format->decode(experts.data, meant.data(), int64_t(meant.size()));
  const double rms = relative_rms(meant, is);
  CHECK(rms > 0.005);
  CHECK(rms < 0.04);
  REQUIRE(place.noted("F8_E4M3 to fp8: relative RMS error 0.0"));
}

TEST_CASE("INT4 of an INT4 file is its codes and scales; of another, what the file's own encoder makes") {
  ExportPlace place(blocky_v3(false));
  place.options.all_linears = true;
  const std::string file = place.converted(place.checkpoint(), "int4");
  const Tensors kept = tensors_in(place.exported(file, ExportFormat::kInt4));
  CHECK(place.noted("scales are F16: an engine that computes in BF16 rounds"));
  const Tensors made = tensors_in(place.exported(place.checkpoint(), ExportFormat::kInt4));
  CHECK(place.noted("BF16 to int4: relative RMS error 0.09"));
  const GgufFile opened = GgufFile::open(file);
  const Tensor& experts = opened.tensor("blk.2.ffn_up_exps.weight");
  REQUIRE(experts.format->id == FormatId::i4_g128);
  const size_t of_one = size_t(experts.shape.dim[1] * experts.shape.dim[2]);
  std::vector<float> values(of_one * 4);
  experts.format->decode(experts.data, values.data(), int64_t(values.size()));
  for (size_t e = 0; e < 4; ++e) {
    const std::string module = "model.layers.2.mlp.experts." + std::to_string(e) + ".up_proj";
    const std::vector<float> meant(values.begin() + std::ptrdiff_t(e * of_one),
                                   values.begin() + std::ptrdiff_t((e + 1) * of_one));
    CHECK(int4_values(kept, module) == meant);
    CHECK(int4_values(made, module) == meant);
  }
}

TEST_CASE("what every program writes goes through float32 once: Q4_K to BF16 is the nearest") {
  ExportPlace place(blocky_v3(false));
  const std::string file = place.converted(place.checkpoint(), "q4_k_m");
  const Tensors to = tensors_in(place.exported(file, ExportFormat::kBf16));
  CHECK(place.noted("in Q4_K go through float32 once; the error is measured and told at the end"));
  CHECK(place.noted("Q4_K to bf16: relative RMS error 0.001"));
  const GgufFile opened = GgufFile::open(file);
  const Tensor& q_b = opened.tensor("blk.0.attn_kv_a_mqa.weight");
  std::vector<float> meant(size_t(q_b.shape.elems()));
  for (int64_t r = 0; r < q_b.shape.rows(); ++r)
    q_b.format->decode(q_b.data + size_t(r) * q_b.row_bytes(), meant.data() + r * q_b.shape.cols(), q_b.shape.cols());
  for (float& x : meant) x = bf16_to_float(float_to_bf16(x));
  CHECK(bf16_values(to.at("model.layers.0.self_attn.kv_a_proj_with_mqa.weight")) == meant);
}

TEST_CASE("codes of a checkpoint are decoded once for a form that has none") {
  ExportPlace place(blocky_v3(false));
  const fs::path int4 = place.exported(place.checkpoint(), ExportFormat::kInt4, "int4");
  const Tensors codes = tensors_in(int4), floats = tensors_in(place.exported(int4.string(), ExportFormat::kBf16));
  const std::string module = "model.layers.1.mlp.experts.1.gate_proj";
  std::vector<float> meant = int4_values(codes, module);
  for (float& x : meant) x = bf16_to_float(float_to_bf16(x));
  CHECK(bf16_values(floats.at(module + ".weight")) == meant);
}

TEST_CASE("vectors that BF16 does not hold stay F32, and so does the routers' bias always") {
  TinyCheckpoint tiny = blocky_v3(false);
  tiny.add_f32("model.norm.weight", {256});
  ExportPlace place(tiny);
  const Tensors to = tensors_in(place.exported(place.converted(place.checkpoint(), "bf16"), ExportFormat::kBf16));
  CHECK(to.at("model.norm.weight").dtype == "F32");
  CHECK(to.at("model.layers.1.mlp.gate.e_score_correction_bias").dtype == "F32");
  CHECK(to.at("model.layers.1.input_layernorm.weight").dtype == "BF16");
  CHECK(to.at("model.layers.1.mlp.gate.weight").dtype == "BF16");
  CHECK(place.noted("1 vector or router is F32, as BF16 does not hold it"));
}

namespace {

// Modules: those that are quantized by their tensors, and those that are not by config.json.
struct Modules {
  std::vector<std::string> quantized, not_converted;
  bool noted_unfit = false;
};

Modules modules_of(const TinyCheckpoint& tiny, ExportFormat format, bool all_linears) {
  ExportPlace place(tiny);
  place.options.all_linears = all_linears;
  const Tensors to = tensors_in(place.exported(place.checkpoint(), format));
  const Json config = Json::parse(read_text(place.dir / "out/config.json"));
  Modules modules;
  const Json& quantization = config.at("quantization_config");
  for (const auto& name : quantization.at(format == ExportFormat::kFp8 ? "modules_to_not_convert" : "ignore"))
    modules.not_converted.push_back(name);
  for (const auto& [name, tensor] : to) {
    for (const std::string end : {".weight_scale_inv", ".weight_packed"}) {
      if (name.ends_with(end)) modules.quantized.push_back(name.substr(0, name.size() - end.size()));
    }
  }
  modules.noted_unfit = place.noted("BF16 stays: model.layers.0.mlp.");
  return modules;
}

bool among(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

TEST_CASE("what engines load as one is quantized whole or not at all: V2-Lite's first layer") {
  TinyCheckpoint tiny;
  tiny.config = tiny_lite_config();
  tiny.config.update(Json{{"hidden_size", 128},
                          {"intermediate_size", 192},
                          {"moe_intermediate_size", 128},
                          {"kv_lora_rank", 128},
                          {"v_head_dim", 64}});
  tiny.add_all_tensors(false);
  const Modules fp8 = modules_of(tiny, ExportFormat::kFp8, false);
  const Modules int4 = modules_of(tiny, ExportFormat::kInt4, false);
  const Modules all = modules_of(tiny, ExportFormat::kInt4, true);
  CHECK(fp8.noted_unfit);
  CHECK(!int4.noted_unfit);
  CHECK(all.noted_unfit);
  for (const char* last : {"gate_proj", "up_proj", "down_proj"}) {
    const std::string dense = std::string("model.layers.0.mlp.") + last;
    const std::string expert = std::string("model.layers.1.mlp.experts.0.") + last;
    const std::string shared = std::string("model.layers.1.mlp.shared_experts.") + last;
    for (const Modules* modules : {&fp8, &all}) {
      CHECK(!among(modules->quantized, dense));
      CHECK(among(modules->not_converted, dense));
      CHECK(among(modules->quantized, expert));
      CHECK(among(modules->quantized, shared));
    }
    CHECK(among(int4.quantized, expert));
    CHECK(!among(int4.quantized, shared));
    CHECK(among(int4.not_converted, shared));
  }
  CHECK(among(fp8.quantized, "model.layers.0.self_attn.o_proj"));
  CHECK(!among(int4.quantized, "model.layers.0.self_attn.o_proj"));
  CHECK(among(all.quantized, "model.layers.0.self_attn.o_proj"));
  for (const Modules* modules : {&fp8, &all}) {
    for (const char* never : {"lm_head", "model.embed_tokens", "model.layers.1.mlp.gate", "model.norm"})
      CHECK(!among(modules->quantized, never));
  }
}

TEST_CASE("shards: each at most as large as asked, but for single weights; one index for all") {
  ExportPlace place(blocky_v3(true));
  const Tensors whole = tensors_in(place.exported(place.checkpoint(), ExportFormat::kFp8, "whole"));
  place.options.shard_bytes = 100'000;
  const fs::path folder = place.exported(place.checkpoint(), ExportFormat::kFp8);
  const Tensors parted = tensors_in(folder);  // by the index
  CHECK(parted.size() == whole.size());
  for (const auto& [name, tensor] : whole) CHECK(same_tensor(tensor, parted.at(name)));
  size_t n_shards = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    ++n_shards;
    const MappedFile file(entry.path().string());
    const auto tensors = parse_safetensors(file.bytes(), file.path());
    uint64_t bytes = 0;
    for (const SourceTensor& tensor : tensors) bytes += tensor.bytes.size();
    CHECK((bytes <= 100'000 || tensors.size() <= 2));  // a weight and its scale
  }
  CHECK(n_shards > 20);
}
