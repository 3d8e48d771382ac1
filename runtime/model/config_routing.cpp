#include "runtime/model/config_routing.h"

#include <algorithm>

#include "quant/gguf_keys.h"

namespace hearth {
namespace {

constexpr int64_t kMaxExperts = 65536;

constexpr ClassCustom kV3 = {"DeepSeek-V3's", 8, 4, true, 2.5f, 0.1f};
constexpr ClassCustom kV2 = {"DeepSeek-V2's", 8, 3, false, 16.0f, 0.0707f};
constexpr ClassCustom kV2Lite = {"DeepSeek-V2-Lite's", 1, 1, false, 1.0f, 0.0707f};

// Leading layers without a router.
int64_t count_dense_layers(const ConfigReader& in, int64_t n_layers) {
  int64_t n = 0;
  while (n < n_layers && !in.file().find_tensor(name::in_layer(int(n), name::kFfnGateInp))) ++n;
  return n;
}

// M of experts [E, M, d], fused [E, 2 M, d], flat or not.
int64_t expert_width(const ConfigReader& in, const ModelConfig& c) {
  return in.cols(name::kFfnDownExps, c.n_layers);
}

// How many experts' width the shared ones have together: that of their key, or of their tensors.
int64_t count_shared_experts(ConfigReader& in, const ModelConfig& c) {
  const int64_t width =
      in.integer_or(in.rows(name::kFfnUpShexp, c.n_layers), key::kExpertSharedFeedForwardLength, 0, kMaxWidth);
  const int64_t n = in.count_or_derived(width / c.moe_inter_dim, key::kExpertSharedCount, 0, kMaxExperts);
  require(n * c.moe_inter_dim == width || !in.has(key::kExpertSharedFeedForwardLength), ErrorKind::model,
          "{}: {}: expected {} times {} ({} shared experts), found {}", in.source(),
          key::kExpertSharedFeedForwardLength, n, c.moe_inter_dim, n, width);
  return n;
}

// A bias that experts are chosen with is V3's, and so is the sigmoid. Files from before V3 have no key; 0 is what some
// write for none.
GatingFunc read_gate(ConfigReader& in, const ModelConfig& c) {
  const auto gate = in.integer_or(0, key::kExpertGatingFunc, 0, UINT32_MAX);
  if (gate == 0) {
    const Tensor* bias = in.in_layers(name::kExpProbsB, c.n_layers);
    if (!bias) return GatingFunc::softmax;
    in.note_guess(key::kExpertGatingFunc, "sigmoid", "as there is " + bias->name);
    return GatingFunc::sigmoid;
  }
  require(gate == int64_t(GatingFunc::softmax) || gate == int64_t(GatingFunc::sigmoid), ErrorKind::model,
          "{}: {}: expected {} (softmax) or {} (sigmoid), found {}", in.source(), key::kExpertGatingFunc,
          int(GatingFunc::softmax), int(GatingFunc::sigmoid), gate);
  return GatingFunc(gate);
}

// Converters write the key where it is true, so that V2's files have none. Ours say nothing of a V3 that does not.
bool read_normalize(ConfigReader& in, const ClassCustom& custom) {
  if (const auto value = in.metadata().boolean(key::kExpertWeightsNorm)) return *value;
  if (!custom.normalize || in.ours()) return false;
  in.note_guess(key::kExpertWeightsNorm, "true", custom.whose);
  return true;
}

void check_groups(const ConfigReader& in, const ModelConfig& c) {
  const Routing& rule = c.routing;
  require(c.n_routed_experts % rule.n_groups == 0, ErrorKind::model,
          "{}: {}: expected a divisor of the {} experts, found {}", in.source(), key::kExpertGroupCount,
          c.n_routed_experts, rule.n_groups);
  const int64_t group_size = c.n_routed_experts / rule.n_groups;
  require(rule.n_groups == 1 || rule.group_score == Routing::GroupScore::maximum || group_size >= 2, ErrorKind::model,
          "{}: {}: expected groups of at least 2 experts for sigmoid routing, found {} groups of {}", in.source(),
          key::kExpertGroupCount, rule.n_groups, group_size);
  require(rule.n_activated <= group_size * rule.n_limited_groups, ErrorKind::model,
          "{}: {}: expected at most the {} experts of {} groups, found {}", in.source(), key::kExpertUsedCount,
          group_size * rule.n_limited_groups, rule.n_limited_groups, rule.n_activated);
}

// Files from before 2025 have no groups; what the class has must at least be possible.
void guess_groups(ConfigReader& in, ModelConfig& c, const ClassCustom& custom) {
  Routing& rule = c.routing;
  rule.n_groups = custom.n_groups;
  rule.n_limited_groups = int(in.integer_or(custom.n_limited_groups, key::kExpertGroupUsedCount, 1, custom.n_groups));
  const int64_t group_size = c.n_routed_experts / rule.n_groups;
  require(c.n_routed_experts % rule.n_groups == 0 && (rule.n_groups == 1 || group_size >= 2) &&
              rule.n_activated <= group_size * rule.n_limited_groups,
          ErrorKind::model, "{}: {} is missing, and {} {} groups, {} kept, cannot be those of {} experts, {} used",
          in.source(), key::kExpertGroupCount, custom.whose, rule.n_groups, rule.n_limited_groups, c.n_routed_experts,
          rule.n_activated);
  if (rule.n_groups == 1 && c.q_lora_rank == 0) return;  // V2-Lite has none, and no key in its old files
  in.note_guess(
      key::kExpertGroupCount,
      rule.n_groups == 1 ? "no grouping" : fmt::format("{} groups, {} kept", rule.n_groups, rule.n_limited_groups),
      custom.whose);
}

void read_groups(ConfigReader& in, ModelConfig& c, const ClassCustom& custom) {
  Routing& rule = c.routing;
  if (!in.has(key::kExpertGroupCount)) return guess_groups(in, c, custom);
  rule.n_groups = std::max(1, int(in.integer(key::kExpertGroupCount, 0, c.n_routed_experts)));  // 0: not grouped
  if (in.has(key::kExpertGroupUsedCount)) {
    rule.n_limited_groups = std::max(1, int(in.integer(key::kExpertGroupUsedCount, rule.n_groups > 1, rule.n_groups)));
  } else if (rule.n_groups > 1) {
    require(rule.n_groups == custom.n_groups, ErrorKind::model,
            "{}: {}: expected the number of groups kept of {}, the key is missing", in.source(),
            key::kExpertGroupUsedCount, rule.n_groups);
    rule.n_limited_groups = custom.n_limited_groups;
    in.note_guess(key::kExpertGroupUsedCount, fmt::format("{} of {}", rule.n_limited_groups, rule.n_groups),
                  custom.whose);
  }
  check_groups(in, c);
}

}  // namespace

const ClassCustom& class_custom(const ModelConfig& c) {
  if (c.routing.score == Routing::Score::sigmoid) return kV3;
  return c.n_routed_experts == 160 && c.q_lora_rank > 0 ? kV2 : kV2Lite;
}

void read_experts(ConfigReader& in, ModelConfig& c) {
  const Tensor* router = in.in_layers(name::kFfnGateInp, c.n_layers);
  c.n_routed_experts = in.count_or_derived(router ? router->shape.rows() : 0, key::kExpertCount, 0, kMaxExperts);
  c.n_dense_layers =
      in.count_or_derived(router ? count_dense_layers(in, c.n_layers) : 0, key::kLeadingDenseBlockCount, 0, c.n_layers);
  if (c.n_routed_experts == 0) {
    c.n_dense_layers = c.n_layers;
    return;
  }
  c.moe_inter_dim = in.integer_or_derived(expert_width(in, c), key::kExpertFeedForwardLength, 1, kMaxWidth);
  c.n_shared_experts = count_shared_experts(in, c);

  Routing& rule = c.routing;
  rule.n_experts = int(c.n_routed_experts);
  rule.n_activated = int(in.integer(key::kExpertUsedCount, 1, c.n_routed_experts));
  // V2 ranks groups by their best expert, V3 by the sum of the best two (docs/model.md section 4).
  const bool sigmoid = read_gate(in, c) == GatingFunc::sigmoid;
  rule.score = sigmoid ? Routing::Score::sigmoid : Routing::Score::softmax;
  rule.group_score = sigmoid ? Routing::GroupScore::top2_sum : Routing::GroupScore::maximum;
  const ClassCustom& custom = class_custom(c);
  rule.normalize = read_normalize(in, custom);
  rule.scale = in.number_or_guess(custom.scale, custom.whose, key::kExpertWeightsScale, 1e-6, 1e6);
  read_groups(in, c, custom);
}

}  // namespace hearth
