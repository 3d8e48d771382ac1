#include "convert/hf_config_parts.h"

namespace hearth {

namespace {

constexpr int64_t kMaxBlock = 1 << 20;

ScaleBlock read_block(const JsonFields& fields, const char* key, const char* place) {
  const Json* block = fields.find(key);
  if (!block) return {};
  const auto is_size = [](const Json& n) {
    return n.is_number_unsigned() && n.get<uint64_t>() >= 1 && n.get<uint64_t>() <= uint64_t(kMaxBlock);
  };
  if (!block->is_array() || block->size() != 2 || !is_size((*block)[0]) || !is_size((*block)[1])) {
    fields.refuse("{}.{}: expected rows and columns, found {}", place, key, json_text(*block));
  }
  return {(*block)[0].get<int64_t>(), (*block)[1].get<int64_t>()};
}

// FP8 checkpoints by DeepSeek and by the makers of vLLM: a scale per block, or one per tensor.
void read_fp8(const JsonFields& quantization, const char* place, HfConfig& c) {
  const std::string format = quantization.string("fmt").value_or("e4m3");
  if (format != "e4m3") quantization.refuse("{}.fmt: expected e4m3, found {}", place, format);
  c.scale_block = read_block(quantization, "weight_block_size", place);
}

// compressed-tensors: groups of layers, each with a scheme for its weights. Only plain FP8 is supported.
void read_compressed_tensors(const JsonFields& quantization, const char* place, HfConfig& c) {
  const std::string format = quantization.string("format").value_or("unnamed");
  if (format != "float-quantized" && format != "naive-quantized") {
    quantization.refuse(
        "checkpoints quantized with compressed-tensors as {} are not supported: expected float-quantized", format);
  }
  for (const char* key : {"sparsity_config", "transform_config"}) {
    const Json* value = quantization.find(key);
    const bool dense = value && value->is_object() && value->value("format", Json()) == "dense";
    if (value && !value->empty() && !dense) quantization.refuse("{}.{} is not supported", place, key);
  }
  const std::optional<JsonFields> groups = quantization.object("config_groups");
  if (!groups) return;
  for (const auto& [name, group] : groups->object().items()) {
    if (!group.is_object()) quantization.refuse("{}.config_groups.{}: expected an object", place, name);
    const JsonFields fields(group, quantization.path(), fmt::format("{}.config_groups.{}.", place, name));
    const std::optional<JsonFields> weights = fields.object("weights");
    if (!weights) continue;
    const int64_t bits = weights->integer_or("num_bits", 8, 1, 64);
    const std::string type = weights->string("type").value_or("float");
    if (bits != 8 || type != "float" || !weights->boolean_or("symmetric", true)) {
      quantization.refuse("{}: expected symmetric weights of 8 bits and type float, found {} bits and type {}", place,
                          bits, type);
    }
    if (weights->has("block_structure")) c.scale_block = read_block(*weights, "block_structure", place);
  }
}

}  // namespace

void read_quantization(const JsonFields& json, HfConfig& c) {
  for (const char* place : {"quantization_config", "compression_config"}) {
    const std::optional<JsonFields> quantization = json.object(place);
    if (!quantization) continue;
    const std::string method = quantization->string("quant_method").value_or("unnamed");
    if (method == "fp8") {
      read_fp8(*quantization, place, c);
    } else if (method == "compressed-tensors") {
      read_compressed_tensors(*quantization, place, c);
    } else if (quantization->has("group_size") && quantization->has("bits") && method == "unnamed") {
      json.refuse("the checkpoint is quantized by MLX: take the one that it was made from");
    } else {
      json.refuse("checkpoints quantized with {} are not supported: expected fp8, compressed-tensors in FP8, or none",
                  method);
    }
  }
  if (json.has("quantization")) json.refuse("the checkpoint is quantized by MLX: take the one that it was made from");
}

}  // namespace hearth
