// What a converted file holds, value by value, against docs/model.md's own words: every tensor of the file is
// computed here from the checkpoint by a second, plain description of names, transforms and FP8 scales.
#include <doctest/doctest.h>

#include "convert/checkpoint.h"
#include "convert/convert.h"
#include "quant/gguf.h"
#include "tests/convert/tiny_checkpoint.h"
#include "tests/support/refusal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct Matrix {
  int64_t rows = 1, cols = 0;
  std::vector<float> values;
  float at(int64_t row, int64_t col) const { return values[size_t(row * cols + col)]; }
};

template <class T>
T load(std::span<const std::byte> bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
  return value;
}

float scale_value(const SourceTensor& scales, size_t index) {
  const std::string dtype = scales.dtype->name;
  if (dtype == "BF16") return bf16_to_float(load<uint16_t>(scales.bytes, index));
  if (dtype == "F16") return fp16_to_float(load<uint16_t>(scales.bytes, index));
  if (dtype == "F8_E8M0") return float(std::pow(2.0, int(load<uint8_t>(scales.bytes, index)) - 127));
  return load<float>(scales.bytes, index);
}

// A tensor of the checkpoint as floats; FP8 times the scale of its 128x128 block, of its row or of all.
Matrix read(const Checkpoint& checkpoint, const std::string& name) {
  const SourceTensor* tensor = checkpoint.find(name);
  REQUIRE_MESSAGE(tensor, name);
  Matrix m;
  m.cols = tensor->shape.cols();
  m.rows = tensor->shape.rows();
  const std::string dtype = tensor->dtype->name;
  const SourceTensor* scales = dtype == "F8_E4M3" ? checkpoint.find(name + "_scale_inv") : nullptr;
  const SourceTensor* plain = dtype == "F8_E4M3" ? checkpoint.find(name + "_scale") : nullptr;
  for (int64_t i = 0; i < m.rows * m.cols; ++i) {
    const auto at = size_t(i);
    if (dtype == "BF16") m.values.push_back(bf16_to_float(load<uint16_t>(tensor->bytes, at)));
    if (dtype == "F16") m.values.push_back(fp16_to_float(load<uint16_t>(tensor->bytes, at)));
    if (dtype == "F32") m.values.push_back(load<float>(tensor->bytes, at));
    if (scales) {
      const int64_t block = i / m.cols / 128 * ((m.cols + 127) / 128) + i % m.cols / 128;
      m.values.push_back(e4m3_to_float(load<uint8_t>(tensor->bytes, at)) * scale_value(*scales, size_t(block)));
    }
    if (plain) {
      const int64_t index = plain->shape.rank == 2 ? i / m.cols : 0;
      m.values.push_back(e4m3_to_float(load<uint8_t>(tensor->bytes, at)) * scale_value(*plain, size_t(index)));
    }
  }
  return m;
}

// The values of a tensor of the file.
std::vector<float> expected(const Checkpoint& checkpoint, const Json& config, const std::string& name) {
  static const std::map<std::string, std::string> top = {{"token_embd.weight", "model.embed_tokens.weight"},
                                                         {"output_norm.weight", "model.norm.weight"},
                                                         {"output.weight", "lm_head.weight"}};
  if (top.contains(name)) return read(checkpoint, top.at(name)).values;

  static const std::map<std::string, std::string> in_layer = {
      {"attn_norm.weight", "input_layernorm.weight"},
      {"attn_q.weight", "self_attn.q_proj.weight"},
      {"attn_q_a.weight", "self_attn.q_a_proj.weight"},
      {"attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"},
      {"attn_q_b.weight", "self_attn.q_b_proj.weight"},
      {"attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"},
      {"attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"},
      {"attn_output.weight", "self_attn.o_proj.weight"},
      {"ffn_norm.weight", "post_attention_layernorm.weight"},
      {"ffn_gate.weight", "mlp.gate_proj.weight"},
      {"ffn_up.weight", "mlp.up_proj.weight"},
      {"ffn_down.weight", "mlp.down_proj.weight"},
      {"ffn_gate_inp.weight", "mlp.gate.weight"},
      {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
      {"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"},
      {"ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"},
      {"ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"},
      {"nextn.eh_proj.weight", "eh_proj.weight"},
      {"nextn.enorm.weight", "enorm.weight"},
      {"nextn.hnorm.weight", "hnorm.weight"},
      {"nextn.embed_tokens.weight", "embed_tokens.weight"},
      {"nextn.shared_head_norm.weight", "shared_head.norm.weight"},
      {"nextn.shared_head_head.weight", "shared_head.head.weight"},
  };
  REQUIRE(name.starts_with("blk."));
  const size_t dot = name.find('.', 4);
  const std::string role = name.substr(dot + 1), prefix = "model.layers." + name.substr(4, dot - 4) + ".";
  if (in_layer.contains(role)) return read(checkpoint, prefix + in_layer.at(role)).values;

  std::vector<float> out;
  if (role == "attn_k_b.weight" || role == "attn_v_b.weight") {
    const Matrix kv_b = read(checkpoint, prefix + "self_attn.kv_b_proj.weight");
    const int64_t heads = config["num_attention_heads"], dn = config["qk_nope_head_dim"], dv = config["v_head_dim"];
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t first = h * (dn + dv);
      if (role == "attn_k_b.weight") {
        for (int64_t c = 0; c < kv_b.cols; ++c)
          for (int64_t i = 0; i < dn; ++i) out.push_back(kv_b.at(first + i, c));
      } else {
        for (int64_t i = 0; i < dv; ++i)
          for (int64_t c = 0; c < kv_b.cols; ++c) out.push_back(kv_b.at(first + dn + i, c));
      }
    }
    return out;
  }
  const std::map<std::string, std::string> experts = {
      {"ffn_gate_exps.weight", "gate_proj"}, {"ffn_up_exps.weight", "up_proj"}, {"ffn_down_exps.weight", "down_proj"}};
  REQUIRE_MESSAGE(experts.contains(role), role);
  const int64_t n_experts = config["n_routed_experts"];
  if (const SourceTensor* fused = checkpoint.find(
          prefix + (experts.at(role) == "down_proj" ? "mlp.experts.down_proj" : "mlp.experts.gate_up_proj"))) {
    const Matrix all = read(checkpoint, fused->name);
    const int64_t width = config["moe_intermediate_size"], rows = fused->shape.dim[1];
    const bool down = experts.at(role) == "down_proj";
    const int64_t first = experts.at(role) == "up_proj" ? width : 0, end = down ? rows : first + width;
    for (int64_t e = 0; e < n_experts; ++e) {
      for (int64_t i = (e * rows + first) * all.cols; i < (e * rows + end) * all.cols; ++i)
        out.push_back(all.values[size_t(i)]);
    }
    return out;
  }
  for (int64_t e = 0; e < n_experts; ++e) {
    const Matrix m = read(checkpoint, fmt::format("{}mlp.experts.{}.{}.weight", prefix, e, experts.at(role)));
    out.insert(out.end(), m.values.begin(), m.values.end());
  }
  return out;
}

std::vector<float> decode(const Tensor& tensor) {
  std::vector<float> values(size_t(tensor.shape.elems()));
  tensor.format->decode(tensor.data, values.data(), tensor.shape.elems());
  return values;
}

// sqrt(sum (a-b)^2 / sum b^2)
double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    norm += double(b[i]) * b[i];
  }
  return norm > 0 ? std::sqrt(error / norm) : error;
}

struct Converted {
  Converted(const fs::path& checkpoint_dir, const std::string& recipe) {
    ConvertOptions options;
    options.checkpoint_dir = checkpoint_dir;
    options.output = dir / "out.gguf";
    options.recipe = recipe;
    options.n_threads = 2;
    report = convert_checkpoint(options);
    file = GgufFile::open(options.output);
    checkpoint = Checkpoint::open(checkpoint_dir);
    config = Json::parse(std::ifstream(checkpoint_dir / "config.json"));
  }
  std::vector<float> expected(const std::string& name) const { return ::expected(checkpoint, config, name); }

  TempDir dir;
  ConvertReport report;
  GgufFile file;
  Checkpoint checkpoint;
  Json config;
};

// Every value of an F32 file is the checkpoint's, bit for bit.
void check_f32(const fs::path& dir) {
  CAPTURE(dir.string());
  const Converted converted(dir, "f32");
  for (const Tensor& tensor : converted.file.tensors()) {
    CAPTURE(tensor.name);
    CHECK(tensor.format->id == FormatId::f32);
    CHECK(decode(tensor) == converted.expected(tensor.name));
  }
}

}  // namespace

TEST_CASE("F32: kv_b split and transposed, experts stacked, BF16 and F16 widened") {
  TinyCheckpoint tiny = tiny_lite();
  for (auto& [name, tensor] : tiny.tensors) {  // a third each of BF16, F16 and F32
    const std::vector<float> values = tiny.gaussian(TinyCheckpoint::count(tensor.shape));
    if (std::hash<std::string>()(name) % 3 == 1) tensor = {"F16", tensor.shape, f16_bytes(values)};
    if (std::hash<std::string>()(name) % 3 == 2) tensor = {"F32", tensor.shape, f32_bytes(values)};
  }
  const TempDir dir;
  tiny.write(dir.path(), 3);
  check_f32(dir.path());
}

TEST_CASE("F32: FP8 with partial blocks, weight and scale in different shards, the MTP layer") {
  const TempDir dir;
  tiny_v3(true).write(dir.path(), 2);
  check_f32(dir.path());
  const TempDir odd;  // heads that do not begin at multiples of 128
  TinyCheckpoint tiny;
  tiny.config = tiny_v3_config();
  tiny.config.update(Json{{"qk_nope_head_dim", 48}, {"v_head_dim", 80}, {"kv_lora_rank", 200}});
  tiny.add_all_tensors(true);
  tiny.write(odd.path());
  check_f32(odd.path());
}

TEST_CASE("F32: FP8 whose scales are BF16, F16 or powers of two") {
  for (const char* dtype : {"BF16", "F16", "F8_E8M0"}) {
    CAPTURE(dtype);
    TinyCheckpoint tiny = tiny_v3(true);
    for (auto& [name, tensor] : tiny.tensors) {
      if (!name.ends_with("_scale_inv")) continue;
      std::vector<float> values(TinyCheckpoint::count(tensor.shape));
      std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
      tensor.dtype = dtype;
      if (tensor.dtype == "BF16") tensor.bytes = bf16_bytes(values);
      if (tensor.dtype == "F16") tensor.bytes = f16_bytes(values);
      if (tensor.dtype == "F8_E8M0") {
        tensor.bytes.clear();
        for (size_t i = 0; i < values.size(); ++i) tensor.bytes += char(110 + i % 9);
      }
    }
    const TempDir dir;
    tiny.write(dir.path());
    check_f32(dir.path());
    const Converted fp8(dir.path(), "fp8");  // every such scale is a float, so that nothing is lost
    for (const Tensor& tensor : fp8.file.tensors()) {
      if (tensor.format->id == FormatId::f8_e4m3) CHECK(decode(tensor) == fp8.expected(tensor.name));
    }
  }
}

// Static FP8, as published for V2-Lite and Coder-V2: weight_scale has one value, of any rank, or one for each row.
TEST_CASE("FP8 with one scale per tensor or per row") {
  for (const int kind : {0, 1, 2}) {
    CAPTURE(kind);
    TinyCheckpoint tiny = tiny_v3(true);
    tiny.config["quantization_config"] = {{"quant_method", "fp8"}, {"activation_scheme", "static"}};
    tiny.rename(
        [](const std::string& name) { return name.ends_with("_scale_inv") ? name.substr(0, name.size() - 4) : name; });
    std::map<std::string, TinyTensor> input_scales;
    for (auto& [name, tensor] : tiny.tensors) {
      if (!name.ends_with("_scale")) continue;
      const int64_t rows = tiny.tensors.at(name.substr(0, name.size() - 6)).shape[0];
      if (kind == 0) tensor.shape = {};
      if (kind == 1) tensor.shape = {1};
      if (kind == 2) tensor.shape = {rows, 1};
      std::vector<float> scales = tiny.gaussian(TinyCheckpoint::count(tensor.shape));
      for (float& scale : scales) scale = 0.001f * (0.5f + std::abs(scale));
      tensor.bytes = f32_bytes(scales);
      const float one = 1;
      input_scales[name.substr(0, name.size() - 12) + "input_scale"] = {"F32", {}, f32_bytes({&one, 1})};
    }
    tiny.tensors.merge(input_scales);
    const TempDir dir;
    tiny.write(dir.path());
    check_f32(dir.path());
    const Converted fp8(dir.path(), "fp8");
    int n_fp8 = 0;
    for (const Tensor& tensor : fp8.file.tensors()) {
      // Rows of the transposed keys run across the rows that have scales of their own.
      if (tensor.format->id != FormatId::f8_e4m3 || (kind == 2 && contains(tensor.name, "attn_k_b"))) continue;
      ++n_fp8;
      CHECK(decode(tensor) == fp8.expected(tensor.name));
    }
    CHECK(n_fp8 > 20);
    CHECK(std::any_of(fp8.report.notes.begin(), fp8.report.notes.end(),
                      [](auto& note) { return contains(note, "scales of activations and cache (input_scale"); }));
  }
}

TEST_CASE("F32: FP8 in blocks of another size") {
  TinyCheckpoint tiny = tiny_v3(true);
  tiny.config["quantization_config"]["weight_block_size"] = {256, 128};
  for (auto& [name, tensor] : tiny.tensors) {
    if (!name.ends_with("_scale_inv")) continue;
    const auto& shape = tiny.tensors.at(name.substr(0, name.size() - 10)).shape;
    tensor.shape = {(shape[0] + 255) / 256, (shape[1] + 127) / 128};
    tensor.bytes.resize(TinyCheckpoint::count(tensor.shape) * 4);
  }
  const TempDir dir;
  tiny.write(dir.path());
  const Converted f32(dir.path(), "f32");
  const Tensor& output = f32.file.tensor("blk.0.attn_output.weight");  // [256, 256]: two scales
  const SourceTensor* weight = f32.checkpoint.find("model.layers.0.self_attn.o_proj.weight");
  const SourceTensor* scale = f32.checkpoint.find("model.layers.0.self_attn.o_proj.weight_scale_inv");
  const std::vector<float> values = decode(output);
  bool equal = true;
  for (size_t i = 0; i < values.size(); ++i) {
    equal =
        equal && values[i] == e4m3_to_float(load<uint8_t>(weight->bytes, i)) * load<float>(scale->bytes, i % 256 / 128);
  }
  CHECK(equal);
}

TEST_CASE("F32: experts fused in one tensor, and fused in FP8") {
  const TempDir dir;
  TinyCheckpoint tiny = tiny_v3(false);
  tiny.fuse_experts();
  tiny.write(dir.path());
  check_f32(dir.path());

  // The border between gate and up lies inside a block of 128 rows.
  TinyCheckpoint separate = tiny_v3(false), fused = separate;
  fused.fuse_experts();
  TinyTensor& gate_up = fused.tensors["model.layers.1.mlp.experts.gate_up_proj"];
  gate_up = {"F8_E4M3", gate_up.shape, std::string(TinyCheckpoint::count(gate_up.shape), '\0')};
  for (char& byte : gate_up.bytes) byte = char(fused.random() % 0x7f);
  std::vector<float> scales = fused.gaussian(4 * 3 * 2);
  for (float& scale : scales) scale = std::abs(scale) + 0.5f;
  fused.tensors["model.layers.1.mlp.experts.gate_up_proj_scale_inv"] = {"F32", {4, 3, 2}, f32_bytes(scales)};
  const TempDir fp8_dir;
  fused.write(fp8_dir.path());
  const Converted converted(fp8_dir.path(), "f32");
  const std::vector<float> up = decode(converted.file.tensor("blk.1.ffn_up_exps.weight"));
  bool equal = true;
  for (size_t e = 0; e < 4; ++e)
    for (size_t row = 0; row < 160; ++row)
      for (size_t col = 0; col < 256; ++col) {
        const float q = e4m3_to_float(uint8_t(gate_up.bytes[(e * 320 + 160 + row) * 256 + col]));
        equal = equal && up[(e * 160 + row) * 256 + col] == q * scales[(e * 3 + (160 + row) / 128) * 2 + col / 128];
      }
  CHECK(equal);
}

TEST_CASE("F32: data that is not aligned") {
  TinyCheckpoint tiny = tiny_lite();
  const TempDir dir;
  tiny.write(dir.path());
  std::string text;
  {
    std::ifstream in(dir / "model.safetensors", std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  uint64_t header;
  std::memcpy(&header, text.data(), sizeof header);
  header += 1;
  std::memcpy(text.data(), &header, sizeof header);
  text.insert(7 + header, " ");
  write_text(dir / "model.safetensors", text);
  check_f32(dir.path());
}

TEST_CASE("F32: the golden checkpoints") {
  for (const auto& entry : fs::directory_iterator(source_dir() / "tests/golden/models")) check_f32(entry.path());
}

TEST_CASE("F32: the larger golden checkpoints" * doctest::test_suite("may skip")) {
  const fs::path data = shared_data("larger golden checkpoints");
  if (data.empty()) return;
  for (const auto& entry : fs::directory_iterator(data / "golden")) check_f32(entry.path());
}

TEST_CASE("FP8 passes through without loss, the transposed part included") {
  const TempDir dir;
  tiny_v3(true).write(dir.path());
  const Converted converted(dir.path(), "fp8");
  int n_fp8 = 0;
  for (const Tensor& tensor : converted.file.tensors()) {
    CAPTURE(tensor.name);
    if (tensor.format->id == FormatId::f8_e4m3) {
      ++n_fp8;
      CHECK(decode(tensor) == converted.expected(tensor.name));
    }
  }
  CHECK(n_fp8 > 20);
  CHECK(converted.file.tensor("blk.0.attn_k_b.weight").format->id == FormatId::f8_e4m3);
  for (const std::string& note : converted.report.notes) CHECK(!contains(note, "encoded anew"));
}

TEST_CASE("FP8 whose scales do not follow the transposed rows is encoded anew, and that is said") {
  TinyCheckpoint tiny;
  tiny.config = tiny_v3_config();
  tiny.config.update(Json{{"v_head_dim", 64}, {"num_nextn_predict_layers", 0}});
  tiny.add_all_tensors(true);
  const TempDir dir;
  tiny.write(dir.path());
  const Converted converted(dir.path(), "fp8");
  const Tensor& k_b = converted.file.tensor("blk.0.attn_k_b.weight");
  CHECK(k_b.format->id == FormatId::f8_e4m3);
  const double error = relative_error(decode(k_b), converted.expected(k_b.name));
  CHECK(error > 0);
  CHECK(error < 0.05);
  int said = 0;
  for (const std::string& note : converted.report.notes) {
    said += contains(note,
                     "attn_k_b.weight: the checkpoint's FP8 scales do not follow these rows: encoded anew (2 tensors)");
  }
  CHECK(said == 1);
}

TEST_CASE("every recipe gives the planned formats and sizes, and values within the format's tolerance") {
  const TempDir dir;
  TinyCheckpoint tiny = tiny_lite();
  tiny.config.update(Json{{"hidden_size", 256}, {"moe_intermediate_size", 128}});  // some rows fit, some do not
  tiny.tensors.clear();
  tiny.add_all_tensors(false);
  tiny.write(dir.path());
  for (const std::string& recipe : recipe_names()) {
    CAPTURE(recipe);
    const Converted converted(dir.path(), recipe);
    CHECK(fs::file_size(converted.dir / "out.gguf") == converted.report.file_bytes);
    CHECK(converted.file.metadata().string("hearth.recipe") == recipe);
    REQUIRE(converted.report.tensors.size() == converted.file.tensors().size());
    for (size_t i = 0; i < converted.report.tensors.size(); ++i) {
      const ConvertPlanRow& row = converted.report.tensors[i];
      const Tensor& tensor = converted.file.tensors()[i];
      CAPTURE(row.name);
      CHECK(tensor.name == row.name);
      CHECK(tensor.format->name == row.format);
      CHECK(tensor.shape.text() == row.shape);
      CHECK(tensor.bytes() == row.bytes);
      // A tensor here may be as short as a few blocks, so that its error scatters around what long rows have.
      CHECK(relative_error(decode(tensor), converted.expected(tensor.name)) <= 1.25 * tensor.format->tolerance);
    }
  }
}
