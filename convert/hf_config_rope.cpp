#include <algorithm>

#include "convert/hf_config_parts.h"

namespace hearth {

namespace {

// Keys of rope_scaling that are read here or change nothing.
constexpr const char* kRopeKeys[] = {"type",
                                     "rope_type",
                                     "rope_theta",
                                     "factor",
                                     "original_max_position_embeddings",
                                     "beta_fast",
                                     "beta_slow",
                                     "mscale",
                                     "mscale_all_dim",
                                     "truncate",
                                     "attention_factor",
                                     "partial_rotary_factor",
                                     "finetuned"};

// The settings in one spelling, so that rope_parameters and rope_scaling can be compared.
Json normalized(const JsonFields& fields) {
  Json out = Json::object();
  for (const auto& [key, value] : fields.object().items()) {
    if (!value.is_null() && key != "rope_theta") out[key == "rope_type" ? "type" : key] = value;
  }
  return out;
}

// Where a checkpoint has both keys they must hold the same, because versions of transformers differ in which they read.
std::optional<JsonFields> choose_rope(const JsonFields& json) {
  const std::optional<JsonFields> parameters = json.object("rope_parameters");
  const std::optional<JsonFields> scaling = json.object("rope_scaling");
  if (!parameters || !scaling) return parameters ? parameters : scaling;
  const Json ours = normalized(*parameters), theirs = normalized(*scaling);
  for (const Json* side : {&ours, &theirs}) {
    for (const auto& [key, value] : side->items()) {
      const Json a = ours.value(key, Json()), b = theirs.value(key, Json());
      if (a != b) {
        json.refuse("has both rope_parameters and rope_scaling, and their {} differ: {} and {}", key, json_text(a),
                    json_text(b));
      }
    }
  }
  return parameters;
}

void read_theta(const JsonFields& json, ClassDefaults& defaults, HfConfig& c) {
  std::optional<double> found;
  for (const char* place : {"rope_parameters", "rope_scaling"}) {
    const std::optional<JsonFields> rope = json.object(place);
    if (!rope || !rope->has("rope_theta")) continue;
    const double theta = rope->number("rope_theta");
    if (found && *found != theta) json.refuse("rope_theta: found both {} and {}", *found, theta);
    found = theta;
  }
  if (found && json.has("rope_theta") && json.number("rope_theta") != *found) {
    json.refuse("rope_theta: found both {} and {}", json.number("rope_theta"), *found);
  }
  c.rope_theta = found ? *found : defaults.number("rope_theta", 10000, 10000);
  if (c.rope_theta <= 1) json.refuse("rope_theta: expected more than 1, found {}", c.rope_theta);
}

// Whether the scaling is YaRN; false: there is none. Other kinds are refused, and so is a factor without a type:
// programs do not agree on what it means.
bool is_yarn(const JsonFields& json, const JsonFields& rope) {
  for (const auto& [key, value] : rope.object().items()) {
    const bool known = std::find(std::begin(kRopeKeys), std::end(kRopeKeys), key) != std::end(kRopeKeys);
    if (!known && !value.is_null()) {
      json.refuse("rope scaling with {} {} is not supported: what it does to positions is unknown here", key,
                  json_text(value));
    }
  }
  if (rope.number_or("partial_rotary_factor", 1) != 1)
    json.refuse("partial_rotary_factor other than 1 is not supported");
  const std::optional<std::string> type = rope.has("rope_type") ? rope.string("rope_type") : rope.string("type");
  if (!type && rope.has("factor")) json.refuse("rope scaling with a factor and without a type: expected yarn or none");
  if (!type || *type == "default") return false;
  if (*type != "yarn") json.refuse("rope scaling of type {} is not supported: expected yarn or none", *type);
  return true;
}

double number_or_default(const JsonFields& rope, ClassDefaults& defaults, const char* key, double value) {
  if (rope.has(key)) return rope.number(key);
  defaults.take(fmt::format("rope_scaling.{}", key), fmt::to_string(value));
  return value;
}

}  // namespace

void read_rope(const JsonFields& json, ClassDefaults& defaults, HfConfig& c) {
  constexpr int64_t kMaxContext = 1 << 28;
  read_theta(json, defaults, c);
  const std::optional<JsonFields> rope = choose_rope(json);
  if (!rope || !is_yarn(json, *rope)) return;

  HfYarn yarn;
  yarn.factor = rope->number("factor");
  yarn.original_context = rope->integer("original_max_position_embeddings", 1, kMaxContext);
  yarn.beta_fast = number_or_default(*rope, defaults, "beta_fast", 32);
  yarn.beta_slow = number_or_default(*rope, defaults, "beta_slow", 1);
  if (yarn.factor < 1) json.refuse("rope scaling factor: expected 1 or more, found {}", yarn.factor);
  if (yarn.beta_slow <= 0 || yarn.beta_fast <= yarn.beta_slow) {
    json.refuse("rope scaling: expected beta_fast > beta_slow > 0, found {} and {}", yarn.beta_fast, yarn.beta_slow);
  }
  if (!rope->boolean_or("truncate", true)) json.refuse("rope scaling with truncate false is not supported");
  // It is 1 when mscale = mscale_all_dim, which is required below.
  if (rope->number_or("attention_factor", 1) != 1)
    json.refuse("rope scaling with an attention_factor of {} is not supported", rope->number("attention_factor"));
  if (yarn.factor == 1) {
    c.notes.push_back("rope scaling by a factor of 1 changes nothing: left out");
    return;
  }
  // cos and sin are multiplied by M(mscale) / M(mscale_all_dim); GGUF has a key for the second only. Absent keys mean
  // mscale 1 and mscale_all_dim 0, for which the quotient is not 1 either.
  const double mscale = rope->number_or("mscale", 1), mscale_all_dim = rope->number_or("mscale_all_dim", 0);
  if (mscale != mscale_all_dim || mscale <= 0) {
    json.refuse("rope scaling: expected mscale = mscale_all_dim > 0, found {} and {}{}: GGUF stores only one of them",
                mscale, mscale_all_dim, rope->has("mscale_all_dim") ? "" : " (absent)");
  }
  yarn.mscale = mscale;
  c.yarn = yarn;
}

}  // namespace hearth
