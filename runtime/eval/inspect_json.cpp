#include "runtime/eval/inspect_json.h"

#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>
#include <variant>

namespace hearth {
namespace {

using Json = nlohmann::ordered_json;

// The shortest number that is this float: 0.0707 and not 0.07069999724626541.
Json number(double value, bool is_float) {
  if (!std::isfinite(value)) return nullptr;
  return is_float ? std::strtod(fmt::format("{}", float(value)).c_str(), nullptr) : value;
}

Json value_of(const GgufValue& value) {
  const bool is_float = value.type == GgufType::f32;
  return std::visit(
      [&](const auto& data) -> Json {
        using Data = std::decay_t<decltype(data)>;
        if constexpr (std::is_same_v<Data, double>) {
          return number(data, is_float);
        } else if constexpr (std::is_same_v<Data, std::vector<double>>) {
          Json all = Json::array();
          for (const double v : data) all.push_back(number(v, is_float));
          return all;
        } else {
          return data;
        }
      },
      value.data);
}

// Members of the outer `depth` levels have lines of their own: a vocabulary is one line, and so is each tensor.
std::string in_lines(const Json& json, int depth, const std::string& indent = "") {
  const auto text = [](const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); };
  if (depth == 0 || json.empty() || !json.is_structured()) return text(json);
  std::string out = json.is_array() ? "[" : "{";
  const char* between = "\n";
  for (const auto& [key, value] : json.items()) {
    out += std::exchange(between, ",\n") + indent + " ";
    if (json.is_object()) out += text(key) + ": ";
    out += in_lines(value, depth - 1, indent + " ");
  }
  return out + "\n" + indent + (json.is_array() ? "]" : "}");
}

std::map<const MappedFile*, size_t> numbers_of(const GgufFile& file) {
  std::map<const MappedFile*, size_t> numbers;
  for (size_t i = 0; i < file.parts().size(); ++i) numbers.emplace(file.parts()[i].get(), i);
  return numbers;
}

Json tensors_json(const GgufFile& file, int64_t n_layers) {
  const auto numbers = numbers_of(file);
  Json tensors = Json::array();
  for (const Tensor& t : file.tensors()) {
    const int64_t layer = layer_of(t.name);
    const MappedFile* part = t.data ? file.part_of(t.data) : nullptr;
    Json shape = Json::array();
    for (int i = 0; i < t.shape.rank; ++i) shape.push_back(t.shape.dim[size_t(i)]);
    Json tensor;
    tensor["name"] = t.name;
    tensor["role"] = tensor_role_name(tensor_role(t.name, n_layers));
    tensor["layer"] = layer < 0 ? Json() : Json(layer);
    tensor["format"] = t.format->name;
    tensor["type"] = uint32_t(t.format->id);
    tensor["shape"] = std::move(shape);
    tensor["part"] = part ? Json(numbers.at(part)) : Json();
    tensor["offset"] = part ? Json(t.data - part->bytes().data()) : Json();
    tensor["bytes"] = t.bytes();
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

Json file_json(const GgufFile& file, const InspectReport& report) {
  std::map<const MappedFile*, int64_t> n_tensors;
  for (const Tensor& t : file.tensors()) ++n_tensors[t.data ? file.part_of(t.data) : nullptr];
  Json parts = Json::array();
  for (const auto& part : file.parts()) {
    parts.push_back({{"path", part->path()}, {"bytes", part->size()}, {"n_tensors", n_tensors[part.get()]}});
  }
  return {{"path", file.path()},
          {"bytes", report.file_bytes},
          {"n_tensors", report.n_tensors},
          {"tensor_bytes", report.tensor_bytes},
          {"bits_per_weight", report.bits_per_weight},
          {"parts", std::move(parts)}};
}

Json routing_json(const Routing& rule) {
  const bool softmax = rule.score == Routing::Score::softmax;
  const bool maximum = rule.group_score == Routing::GroupScore::maximum;
  return {{"score", softmax ? "softmax" : "sigmoid"},
          {"n_groups", rule.n_groups},
          {"n_limited_groups", rule.n_limited_groups},
          {"group_score", maximum ? "maximum" : "top2_sum"},
          {"normalize", rule.normalize},
          {"scale", number(rule.scale, true)}};
}

Json yarn_json(const YarnConfig& yarn) {
  if (!yarn.enabled) return nullptr;
  return {{"factor", number(yarn.factor, true)},
          {"original_context", yarn.original_context},
          {"beta_fast", number(yarn.beta_fast, true)},
          {"beta_slow", number(yarn.beta_slow, true)},
          {"log_multiplier", number(yarn.log_multiplier, true)}};
}

Json model_json(const ModelConfig& c, const InspectReport& report) {
  return {{"name", c.name},
          {"n_layers", c.n_layers},
          {"n_dense_layers", c.n_dense_layers},
          {"n_mtp_layers", c.n_mtp_layers},
          {"dim", c.dim},
          {"n_heads", c.n_heads},
          {"vocab_size", c.vocab_size},
          {"context_length", c.context_length},
          {"q_lora_rank", c.q_lora_rank},
          {"kv_lora_rank", c.kv_lora_rank},
          {"qk_nope_head_dim", c.qk_nope_head_dim},
          {"qk_rope_head_dim", c.qk_rope_head_dim},
          {"v_head_dim", c.v_head_dim},
          {"inter_dim", c.inter_dim},
          {"moe_inter_dim", c.moe_inter_dim},
          {"n_routed_experts", c.n_routed_experts},
          {"n_activated_experts", c.n_routed_experts > 0 ? c.routing.n_activated : 0},
          {"n_shared_experts", c.n_shared_experts},
          {"routing", c.n_routed_experts > 0 ? routing_json(c.routing) : Json()},
          {"norm_eps", number(c.norm_eps, true)},
          {"rope_theta", number(c.rope_theta, true)},
          {"yarn", yarn_json(c.yarn)},
          {"layout", report.kv_layout},
          {"notes", c.notes}};
}

Json groups_json(const std::vector<TensorGroup>& groups) {
  Json all = Json::array();
  for (const TensorGroup& g : groups) {
    all.push_back({{"role", tensor_role_name(g.role)},
                   {"format", g.format->name},
                   {"n_tensors", g.n_tensors},
                   {"n_parameters", g.n_parameters},
                   {"bytes", g.bytes},
                   {"bits_per_weight", g.bits_per_weight()}});
  }
  return all;
}

Json facts_json(const std::vector<Fact>& facts) {
  Json all = Json::array();
  for (const Fact& fact : facts) all.push_back({{"name", fact.name}, {"value", fact.value}});
  return all;
}

Json metadata_json(const GgufMetadata& metadata) {
  Json all = Json::object();
  for (const auto& [key, value] : metadata.entries()) {
    all[key] = {{"type", value.type_text()}, {"value", value_of(value)}};
  }
  return all;
}

}  // namespace

std::string inspect_json(const GgufFile& file, const InspectReport& report) {
  const int64_t n_layers = report.config ? report.config->n_layers : INT64_MAX;
  Json document;
  document["file"] = file_json(file, report);
  document["runs_here"] = report.why_not.empty();
  document["why_not"] = report.why_not.empty() ? Json() : Json(report.why_not);
  document["parameters"] = {{"n", report.n_parameters}, {"n_active", report.n_active_parameters}};
  document["model"] = report.config ? model_json(*report.config, report) : Json();
  document["quantization"] = groups_json(report.groups);
  document["vocabulary"] = facts_json(report.vocabulary);
  document["origin"] = facts_json(report.origin);
  document["metadata"] = metadata_json(file.metadata());
  document["tensors"] = tensors_json(file, n_layers);
  return in_lines(document, 2);
}

}  // namespace hearth
