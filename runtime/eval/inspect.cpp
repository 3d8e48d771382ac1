#include "runtime/eval/inspect.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "quant/gguf_keys.h"
#include "runtime/jinja/template.h"
#include "runtime/model/kv_layout.h"
#include "runtime/model/read_config.h"
#include "runtime/model/weights.h"
#include "runtime/tokenizer/tokenizer_vocabulary.h"

namespace hearth {
namespace {

std::string plural(uint64_t n, const char* thing) {
  return fmt::format("{} {}{}", n, thing, n == 1 ? "" : "s");
}

// Parameters that one token uses, as model cards count them.
uint64_t active_share(TensorRole role, uint64_t n_parameters, const ModelConfig& c) {
  switch (role) {
    case TensorRole::embedding:
    case TensorRole::mtp:
      return 0;
    case TensorRole::routed_experts:
      return n_parameters / uint64_t(std::max<int64_t>(c.n_routed_experts, 1)) * uint64_t(c.routing.n_activated);
    default:
      return n_parameters;
  }
}

std::string routing_text(const ModelConfig& c) {
  const Routing& rule = c.routing;
  std::string text = rule.score == Routing::Score::softmax ? "softmax" : "sigmoid";
  if (rule.n_groups > 1) {
    text += fmt::format(", {} of {} groups by {}", rule.n_limited_groups, rule.n_groups,
                        rule.group_score == Routing::GroupScore::maximum ? "maximum" : "sum of the best two");
  }
  if (rule.normalize) text += ", normalised";
  return text + fmt::format(", scaled by {}", rule.scale);
}

std::string layers_text(const ModelConfig& c) {
  std::string text = fmt::format("{} dense", c.n_dense_layers);
  if (c.n_moe_layers() > 0) text += fmt::format(", {} with experts", c.n_moe_layers());
  if (c.n_mtp_layers > 0) text += fmt::format(", {} for MTP (not run)", c.n_mtp_layers);
  return text;
}

std::vector<Fact> model_facts(const ModelConfig& c) {
  std::vector<Fact> facts = {
      {"name", c.name.empty() ? "(none)" : c.name},
      {"layers", layers_text(c)},
      {"width", fmt::format("{}, vocabulary of {}", c.dim, c.vocab_size)},
      {"attention", fmt::format("{} heads of {} + {} (values {}), latent {}, queries {}", c.n_heads, c.qk_nope_head_dim,
                                c.qk_rope_head_dim, c.v_head_dim, c.kv_lora_rank,
                                c.q_lora_rank ? fmt::format("through {}", c.q_lora_rank) : "plain")},
  };
  if (c.n_dense_layers > 0) facts.push_back({"dense ffn", fmt::format("{} wide", c.inter_dim)});
  if (c.n_routed_experts > 0) {
    facts.push_back({"experts", fmt::format("{} of {} routed, {} shared, {} wide", c.routing.n_activated,
                                            c.n_routed_experts, c.n_shared_experts, c.moe_inter_dim)});
    facts.push_back({"routing", routing_text(c)});
  }
  facts.push_back({"context", fmt::format("{} tokens, {} cached values per token", c.context_length,
                                          c.cache_width() * c.n_layers)});
  facts.push_back({"positions", c.yarn.enabled
                                    ? fmt::format("theta {}, YaRN x {} over {}, mscale_all_dim {:.4g}", c.rope_theta,
                                                  c.yarn.factor, c.yarn.original_context, c.yarn.log_multiplier * 10)
                                    : fmt::format("theta {}, no scaling", c.rope_theta)});
  for (const std::string& note : c.notes) facts.push_back({"guessed", note});
  return facts;
}

std::string token_text(const GgufMetadata& m, const char* key) {
  const auto id = m.unsigned_integer(key);
  const auto* tokens = m.strings(key::kTokens);
  if (!id) return "none";
  return fmt::format("{}{}", *id, tokens && *id < tokens->size() ? " " + (*tokens)[*id] : "");
}

std::string chat_text(const GgufMetadata& m) {
  const auto text = m.string(key::kChatTemplate);
  if (!text || text->empty()) return "no template";
  try {
    const jinja::Template chat(*text, "the template");
    const bool thinks = chat.reads("thinking") || chat.reads("enable_thinking");
    return fmt::format("a template of {} bytes{}{}", text->size(), chat.reads("tools") ? ", announces tools" : "",
                       thinks ? ", switches thinking" : "");
  } catch (const Error& error) {
    return fmt::format("a template of {} bytes that is not understood: {}", text->size(), error.what());
  }
}

std::vector<Fact> vocabulary_facts(const GgufMetadata& m) {
  const auto* tokens = m.strings(key::kTokens);
  if (!tokens) return {};
  const auto* merges = m.strings(key::kMerges);
  std::vector<Fact> facts = {
      {"tokenizer", fmt::format("{}, {}", m.string(key::kTokenizerModel).value_or("(none)"),
                                m.string(key::kTokenizerPre).value_or("no pre-tokenizer"))},
      {"entries", fmt::format("{} tokens, {} merges", tokens->size(), merges ? merges->size() : 0)},
      {"begin", token_text(m, key::kBosTokenId)},
      {"end", token_text(m, key::kEosTokenId)},
      {"chat", chat_text(m)},
  };
  for (const std::string& guess : vocabulary_guesses(m)) facts.push_back({"guessed", guess});
  return facts;
}

std::vector<Fact> origin_facts(const GgufMetadata& m) {
  std::vector<Fact> facts;
  const auto add = [&](const char* label, const char* key) {
    if (const auto text = m.string(key)) facts.push_back({label, *text});
  };
  add("source", key::kHearthSource);
  add("recipe", key::kHearthRecipe);
  add("written by", key::kHearthVersion);
  const auto* sums = m.u64s(key::kHearthChecksums);
  facts.push_back({"checksums", sums ? "of " + plural(sums->size(), "tensor") : "none"});
  return facts;
}

// Metadata of an odd type must not keep the rest from being shown.
template <class F>
std::vector<Fact> facts_or_error(const F& facts) {
  try {
    return facts();
  } catch (const Error& e) {
    return {{"error", e.what()}};
  }
}

}  // namespace

InspectReport inspect(const GgufFile& file) {
  InspectReport report;
  report.file_bytes = file.file_bytes();
  report.n_tensors = int64_t(file.tensors().size());
  report.n_parts = int64_t(file.parts().size());
  try {
    report.config = read_config(file);
    report.kv_layout = kv_layout_name(file, report.config->n_layers);
    report.model = model_facts(*report.config);
    const std::string layout = kv_layout_text(file, report.config->n_layers);
    if (!layout.empty()) report.model.push_back({"layout", layout});
    report.why_not = not_computed(file, *report.config);
  } catch (const Error& e) {
    report.why_not = e.what();
  }

  const int64_t n_layers = report.config ? report.config->n_layers : INT64_MAX;
  std::map<std::pair<TensorRole, FormatId>, TensorGroup> groups;
  for (const Tensor& t : file.tensors()) {
    TensorGroup& group = groups[{tensor_role(t.name, n_layers), t.format->id}];
    group.role = tensor_role(t.name, n_layers);
    group.format = t.format;
    ++group.n_tensors;
    group.n_parameters += uint64_t(t.shape.elems());
    group.bytes += t.bytes();
  }
  uint64_t all = 0;
  for (const auto& [_, group] : groups) {
    report.groups.push_back(group);
    report.tensor_bytes += group.bytes;
    all += group.n_parameters;
    if (group.role != TensorRole::mtp) report.n_parameters += group.n_parameters;
    if (report.config) report.n_active_parameters += active_share(group.role, group.n_parameters, *report.config);
  }
  // A tied embedding is also the head.
  if (report.config && !file.find_tensor(name::kOutput)) {
    report.n_active_parameters += uint64_t(report.config->vocab_size * report.config->dim);
  }
  std::ranges::stable_sort(report.groups, [](const TensorGroup& a, const TensorGroup& b) {
    return a.role != b.role ? a.role < b.role : a.bytes > b.bytes;
  });
  report.bits_per_weight = all ? 8.0 * double(report.tensor_bytes) / double(all) : 0;
  report.vocabulary = facts_or_error([&] { return vocabulary_facts(file.metadata()); });
  report.origin = facts_or_error([&] { return origin_facts(file.metadata()); });
  return report;
}

}  // namespace hearth
