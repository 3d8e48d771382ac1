#include <algorithm>

#include "convert/hf_config_parts.h"

namespace hearth {

namespace {

constexpr int64_t kMaxBlock = 1 << 20;
constexpr const char* kTakeTheOriginal = "take the checkpoint that it was made from";

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
  c.quantization.method = QuantMethod::fp8;
}

// A group size as all three methods write it: -1 is a whole row.
int64_t read_group_size(const JsonFields& fields, int64_t fallback) {
  const int64_t size = fields.integer_or("group_size", fallback, -1, kMaxBlock);
  if (size == 0) fields.refuse("group_size: expected 1 or more, or -1 for whole rows, found 0");
  return size == -1 ? IntegerScheme::kRow : size;
}

int read_bits(const JsonFields& fields, const char* place, const char* key) {
  const int64_t bits = fields.integer(key, 1, 64);
  if (bits != 4 && bits != 8) {
    fields.refuse("{}.{}: integer weights of {} bits are not supported: expected 4 or 8 ({})", place, key, bits,
                  kTakeTheOriginal);
  }
  return int(bits);
}

// ---- compressed-tensors: groups of layers, each with a scheme for its weights.

// Formats of compressed-tensors that are computed with others than plain integers and FP8.
constexpr struct {
  const char *format, *hint;
} kOtherFormats[] = {
    {"marlin-24", "2:4 sparsity in the order of a GPU's kernel"},
    {"sparse-24-bitmask", "2:4 sparsity: save it without sparse compression"},
    {"sparse-bitmask", "sparsity: save it without sparse compression"},
    {"nvfp4-pack-quantized", "FP4"},
    {"mxfp4-pack-quantized", "FP4"},
    {"mxfp6-pack-quantized", "FP6"},
    {"mxfp8-quantized", "FP8 with a scale for each 32 weights"},
};

void require_known_format(const JsonFields& fields, const std::string& format) {
  for (const char* known :
       {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision", "dense"}) {
    if (format == known) return;
  }
  for (const auto& other : kOtherFormats) {
    if (format != other.format) continue;
    fields.refuse("checkpoints quantized with compressed-tensors as {} ({}) are not supported: {}", format, other.hint,
                  kTakeTheOriginal);
  }
  fields.refuse(
      "checkpoints quantized with compressed-tensors as {} are not supported: expected pack-quantized, int-quantized "
      "or "
      "float-quantized",
      format);
}

bool read_act_order(const JsonFields& weights, const std::string& place) {
  const Json* order = weights.find("actorder");
  if (!order) return false;
  if (order->is_boolean()) return order->get<bool>();
  for (const char* by_group : {"group", "dynamic"}) {
    if (*order == by_group) return true;
  }
  for (const char* in_order : {"weight", "static"}) {  // a matter of quantizing only: the columns keep their order
    if (*order == in_order) return false;
  }
  weights.refuse("{}.weights.actorder: expected group, weight or static, found {}", place, json_text(*order));
}

// weights: integers of 4 or 8 bits, or FP8.
void read_weights(const JsonFields& weights, const std::string& place, HfConfig& c) {
  const std::string in_weights = place + ".weights";
  const int64_t bits = weights.integer_or("num_bits", 8, 1, 64);
  const std::string type = weights.string("type").value_or("int");
  const bool symmetric = weights.boolean_or("symmetric", true);
  const std::string strategy = weights.string("strategy")
                                   .value_or(weights.has("group_size") ? "group"
                                             : type == "float"         ? "block"
                                                                       : "tensor");
  if (type == "float") {
    if (bits != 8 || !symmetric) {
      weights.refuse("{}: floating-point weights: expected symmetric ones of 8 bits, found {} bits{}", in_weights, bits,
                     symmetric ? "" : ", asymmetric");
    }
    if (weights.has("block_structure")) c.scale_block = read_block(weights, "block_structure", in_weights.c_str());
    return;
  }
  if (type != "int") weights.refuse("{}.type: expected int or float, found {}", in_weights, type);
  IntegerScheme scheme;
  scheme.bits = read_bits(weights, in_weights.c_str(), "num_bits");
  scheme.symmetric = symmetric;
  scheme.act_order = read_act_order(weights, place);
  if (strategy == "group") {
    scheme.group_size = read_group_size(weights, 128);
  } else if (strategy == "channel") {
    scheme.group_size = IntegerScheme::kRow;
  } else if (strategy == "tensor") {
    scheme.group_size = IntegerScheme::kTensor;
  } else {
    weights.refuse("{}.strategy: expected group, channel or tensor for integer weights, found {}", in_weights,
                   strategy);
  }
  c.quantization.schemes.push_back(scheme);
}

void read_compressed_tensors(const JsonFields& quantization, const char* place, HfConfig& c) {
  c.quantization.method = QuantMethod::compressed_tensors;
  require_known_format(quantization, quantization.string("format").value_or("unnamed"));
  for (const char* key : {"sparsity_config", "transform_config"}) {
    const Json* value = quantization.find(key);
    const bool dense = value && value->is_object() && value->value("format", Json()) == "dense";
    if (value && !value->empty() && !dense) {
      quantization.refuse("{}.{} is not supported: {}", place, key, kTakeTheOriginal);
    }
  }
  const std::optional<JsonFields> groups = quantization.object("config_groups");
  if (!groups) return;
  bool activations = false;
  for (const auto& [name, group] : groups->object().items()) {
    const std::string in_group = fmt::format("{}.config_groups.{}", place, name);
    if (!group.is_object()) quantization.refuse("{}: expected an object", in_group);
    const JsonFields fields(group, quantization.path(), in_group + ".");
    if (const auto format = fields.string("format")) require_known_format(fields, *format);
    activations = activations || fields.has("input_activations");
    if (const auto weights = fields.object("weights")) read_weights(*weights, in_group, c);
  }
  if (activations) {
    c.notes.push_back(
        "config.json has activations quantized too (input_activations): left aside, the kernels here have a way of "
        "their own");
  }
}

// ---- GPTQ (AutoGPTQ, GPTQModel) and AWQ (AutoAWQ): one scheme for all quantized layers.

void read_gptq(const JsonFields& quantization, const char* place, HfConfig& c) {
  const std::string format =
      quantization.string("checkpoint_format").value_or(quantization.string("format").value_or("gptq"));
  if (format != "gptq" && format != "gptq_v2") {
    quantization.refuse("{}.checkpoint_format: expected gptq or gptq_v2, found {} ({})", place, format,
                        kTakeTheOriginal);
  }
  if (quantization.boolean_or("is_marlin_format", false)) {
    quantization.refuse("{}.is_marlin_format: weights in the order of a GPU's kernel are not supported: {}", place,
                        kTakeTheOriginal);
  }
  if (const auto pack = quantization.string("pack_dtype"); pack && *pack != "int32") {
    quantization.refuse("{}.pack_dtype: expected int32, found {}", place, *pack);
  }
  IntegerScheme scheme;
  scheme.bits = read_bits(quantization, place, "bits");
  scheme.symmetric = quantization.boolean_or("sym", true);
  scheme.group_size = read_group_size(quantization, 128);
  scheme.act_order = quantization.boolean_or("desc_act", false);
  c.quantization.method = QuantMethod::gptq;
  c.quantization.zeros_less_one = format == "gptq";
  c.quantization.schemes.push_back(scheme);
  // GPTQModel's exceptions from the scheme, for layers whose names match: "-:PATTERN" is not quantized at all.
  const std::optional<JsonFields> exceptions = quantization.object("dynamic");
  if (!exceptions) return;
  for (const auto& [pattern, value] : exceptions->object().items()) {
    if (pattern.starts_with("-:")) continue;
    const std::string in_exception = fmt::format("{}.dynamic.{}", place, one_line(pattern));
    if (!value.is_object()) quantization.refuse("{}: expected an object", in_exception);
    const JsonFields fields(value, quantization.path(), in_exception + ".");
    IntegerScheme other = scheme;
    if (fields.has("bits")) other.bits = read_bits(fields, in_exception.c_str(), "bits");
    if (fields.has("group_size")) other.group_size = read_group_size(fields, 128);
    other.symmetric = fields.boolean_or("sym", scheme.symmetric);
    other.act_order = fields.boolean_or("desc_act", scheme.act_order);
    c.quantization.schemes.push_back(other);
  }
}

void read_awq(const JsonFields& quantization, const char* place, HfConfig& c) {
  const char* key = quantization.has("version") ? "version" : "format";
  std::string version = quantization.string(key).value_or("gemm");
  std::ranges::transform(version, version.begin(), [](char ch) { return ch >= 'A' && ch <= 'Z' ? char(ch + 32) : ch; });
  if (version != "gemm") {
    quantization.refuse("{}.{}: AWQ's order of weights {} is not supported: expected gemm ({})", place, key, version,
                        kTakeTheOriginal);
  }
  IntegerScheme scheme;
  scheme.bits = read_bits(quantization, place, quantization.has("w_bit") ? "w_bit" : "bits");
  if (scheme.bits != 4) quantization.refuse("{}.bits: expected 4 for AWQ, found {}", place, scheme.bits);
  scheme.symmetric = !quantization.boolean_or("zero_point", true);
  scheme.group_size = read_group_size(quantization, quantization.integer_or("q_group_size", 128, 1, kMaxBlock));
  c.quantization.method = QuantMethod::awq;
  c.quantization.schemes.push_back(scheme);
}

}  // namespace

std::string IntegerScheme::text() const {
  const std::string groups = group_size == kRow      ? "a scale for each row"
                             : group_size == kTensor ? "one scale"
                                                     : fmt::format("groups of {}", group_size);
  return fmt::format("{} bits, {}{}{}", bits, groups, symmetric ? "" : ", with zeros",
                     act_order ? ", in the order of activations" : "");
}

void read_quantization(const JsonFields& json, HfConfig& c) {
  for (const char* place : {"quantization_config", "compression_config"}) {
    const std::optional<JsonFields> quantization = json.object(place);
    if (!quantization) continue;
    const std::string method = quantization->string("quant_method").value_or("unnamed");
    if (method == "fp8") {
      read_fp8(*quantization, place, c);
    } else if (method == "compressed-tensors") {
      read_compressed_tensors(*quantization, place, c);
    } else if (method == "gptq") {
      read_gptq(*quantization, place, c);
    } else if (method == "awq") {
      read_awq(*quantization, place, c);
    } else if (quantization->has("group_size") && quantization->has("bits") && method == "unnamed") {
      json.refuse("the checkpoint is quantized by MLX: {}", kTakeTheOriginal);
    } else {
      json.refuse(
          "checkpoints quantized with {} are not supported: expected fp8, compressed-tensors, gptq, awq or none",
          method);
    }
  }
  if (json.has("quantization")) json.refuse("the checkpoint is quantized by MLX: {}", kTakeTheOriginal);
}

}  // namespace hearth
