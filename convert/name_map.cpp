#include "convert/name_map.h"

#include <algorithm>
#include <set>

#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

// Where a row of the table applies.
enum class When {
  begin,        // once, before the layers
  end,          // once, after the layers
  end_untied,   // once, unless the embedding serves as head
  mtp_begin,    // before each MTP layer
  mtp_end,      // after each MTP layer
  layer,        // every layer
  query_plain,  // every layer, where queries have no latent
  query_latent,
  dense,   // dense layers
  expert,  // MoE layers
  biased,  // MoE layers with a selection bias
};

struct Row {
  const char* hf;    // {L}: layer, {E}: expert
  const char* gguf;  // within the layer where there is one
  Role role;
  Transform transform;
  When when;
  Shape (*shape)(const HfConfig&);  // in the checkpoint
  bool optional = false;
};

using C = HfConfig;
Shape vec_dim(const C& c) {
  return Shape(c.dim);
}
Shape mat_vocab(const C& c) {
  return Shape(c.vocab_size, c.dim);
}
Shape mat_kv_b(const C& c) {
  return Shape(c.n_heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank);
}
Shape mat_dense_in(const C& c) {
  return Shape(c.inter_dim, c.dim);
}
Shape mat_dense_down(const C& c) {
  return Shape(c.dim, c.inter_dim);
}
Shape mat_expert_in(const C& c) {
  return Shape(c.moe_inter_dim, c.dim);
}
Shape mat_expert_down(const C& c) {
  return Shape(c.dim, c.moe_inter_dim);
}
Shape mat_shared_in(const C& c) {
  return Shape(c.moe_inter_dim * c.n_shared_experts, c.dim);
}
Shape mat_shared_down(const C& c) {
  return Shape(c.dim, c.moe_inter_dim * c.n_shared_experts);
}

#define ATTN "model.layers.{L}.self_attn."
#define MLP "model.layers.{L}.mlp."

// THE table. Its order is the file's, and that of the forward.
const Row kRows[] = {
    {"model.embed_tokens.weight", name::kTokenEmbd, Role::embedding, Transform::copy, When::begin, mat_vocab},

    // A token and the hidden state behind it become the input of the MTP layer.
    {"model.layers.{L}.embed_tokens.weight", name::kNextnEmbedTokens, Role::embedding, Transform::copy, When::mtp_begin,
     mat_vocab, true},
    {"model.layers.{L}.enorm.weight", name::kNextnEnorm, Role::vector, Transform::copy, When::mtp_begin, vec_dim},
    {"model.layers.{L}.hnorm.weight", name::kNextnHnorm, Role::vector, Transform::copy, When::mtp_begin, vec_dim},
    {"model.layers.{L}.eh_proj.weight", name::kNextnEhProj, Role::mtp_proj, Transform::copy, When::mtp_begin,
     [](const C& c) { return Shape(c.dim, 2 * c.dim); }},

    {"model.layers.{L}.input_layernorm.weight", name::kAttnNorm, Role::vector, Transform::copy, When::layer, vec_dim},
    {ATTN "q_proj.weight", name::kAttnQ, Role::query, Transform::copy, When::query_plain,
     [](const C& c) { return Shape(c.n_heads * c.qk_head_dim(), c.dim); }},
    {ATTN "q_a_proj.weight", name::kAttnQA, Role::query, Transform::copy, When::query_latent,
     [](const C& c) { return Shape(c.q_lora_rank, c.dim); }},
    {ATTN "q_a_layernorm.weight", name::kAttnQANorm, Role::vector, Transform::copy, When::query_latent,
     [](const C& c) { return Shape(c.q_lora_rank); }},
    {ATTN "q_b_proj.weight", name::kAttnQB, Role::query, Transform::copy, When::query_latent,
     [](const C& c) { return Shape(c.n_heads * c.qk_head_dim(), c.q_lora_rank); }},
    {ATTN "kv_a_proj_with_mqa.weight", name::kAttnKvAMqa, Role::latent, Transform::copy, When::layer,
     [](const C& c) { return Shape(c.kv_lora_rank + c.qk_rope_head_dim, c.dim); }},
    {ATTN "kv_a_layernorm.weight", name::kAttnKvANorm, Role::vector, Transform::copy, When::layer,
     [](const C& c) { return Shape(c.kv_lora_rank); }},
    {ATTN "kv_b_proj.weight", name::kAttnKB, Role::latent, Transform::k_part, When::layer, mat_kv_b},
    {ATTN "kv_b_proj.weight", name::kAttnVB, Role::latent, Transform::v_part, When::layer, mat_kv_b},
    {ATTN "o_proj.weight", name::kAttnOutput, Role::attn_output, Transform::copy, When::layer,
     [](const C& c) { return Shape(c.dim, c.n_heads * c.v_head_dim); }},

    {"model.layers.{L}.post_attention_layernorm.weight", name::kFfnNorm, Role::vector, Transform::copy, When::layer,
     vec_dim},
    {MLP "gate_proj.weight", name::kFfnGate, Role::dense_in, Transform::copy, When::dense, mat_dense_in},
    {MLP "up_proj.weight", name::kFfnUp, Role::dense_in, Transform::copy, When::dense, mat_dense_in},
    {MLP "down_proj.weight", name::kFfnDown, Role::dense_down, Transform::copy, When::dense, mat_dense_down},
    {MLP "gate.weight", name::kFfnGateInp, Role::vector, Transform::copy, When::expert,
     [](const C& c) { return Shape(c.n_routed_experts, c.dim); }},
    {MLP "gate.e_score_correction_bias", name::kExpProbsB, Role::vector, Transform::copy, When::biased,
     [](const C& c) { return Shape(c.n_routed_experts); }},
    {MLP "experts.{E}.gate_proj.weight", name::kFfnGateExps, Role::expert_in, Transform::stack, When::expert,
     mat_expert_in},
    {MLP "experts.{E}.up_proj.weight", name::kFfnUpExps, Role::expert_in, Transform::stack, When::expert,
     mat_expert_in},
    {MLP "experts.{E}.down_proj.weight", name::kFfnDownExps, Role::expert_down, Transform::stack, When::expert,
     mat_expert_down},
    {MLP "shared_experts.gate_proj.weight", name::kFfnGateShexp, Role::shared_in, Transform::copy, When::expert,
     mat_shared_in},
    {MLP "shared_experts.up_proj.weight", name::kFfnUpShexp, Role::shared_in, Transform::copy, When::expert,
     mat_shared_in},
    {MLP "shared_experts.down_proj.weight", name::kFfnDownShexp, Role::shared_down, Transform::copy, When::expert,
     mat_shared_down},

    {"model.layers.{L}.shared_head.norm.weight", name::kNextnSharedHeadNorm, Role::vector, Transform::copy,
     When::mtp_end, vec_dim},
    {"model.layers.{L}.shared_head.head.weight", name::kNextnSharedHeadHead, Role::head, Transform::copy, When::mtp_end,
     mat_vocab, true},

    {"model.norm.weight", name::kOutputNorm, Role::vector, Transform::copy, When::end, vec_dim},
    {"lm_head.weight", name::kOutput, Role::head, Transform::copy, When::end_untied, mat_vocab},
};

#undef ATTN
#undef MLP

std::string substitute(std::string text, const char* what, int64_t value) {
  const size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, 3, std::to_string(value));
}

Shape file_shape(const Row& row, const HfConfig& c) {
  const Shape source = row.shape(c);
  switch (row.transform) {
    case Transform::copy:
      break;
    case Transform::stack:
      return Shape(c.n_routed_experts, source.dim[0], source.dim[1]);
    case Transform::k_part:
      return Shape(c.n_heads, c.kv_lora_rank, c.qk_nope_head_dim);
    case Transform::v_part:
      return Shape(c.n_heads, c.v_head_dim, c.kv_lora_rank);
  }
  return source;
}

class Mapper {
 public:
  Mapper(const HfConfig& config, const Checkpoint& checkpoint) : c_(config), checkpoint_(checkpoint) {}

  NameMap map(bool keep_mtp) {
    const int64_t n_found = count_mtp_layers();
    const int64_t n_kept = keep_mtp ? n_found : 0;
    add(-1, false, {When::begin});
    for (int64_t layer = 0; layer < c_.n_layers; ++layer) add_layer(layer, false);
    add(-1, false, {When::end});
    if (!c_.tied_embeddings) add(-1, false, {When::end_untied});
    for (int64_t layer = c_.n_layers; layer < c_.n_layers + n_kept; ++layer) {
      add(layer, true, {When::mtp_begin});
      add_layer(layer, true);
      add(layer, true, {When::mtp_end});
    }
    refuse_missing();
    refuse_unknown(n_kept, n_found);
    out_.n_mtp_layers = n_kept;
    if (n_kept < n_found) {
      out_.notes.push_back(fmt::format("{} multi-token-prediction layer{} of the checkpoint left out, as asked",
                                       n_found, n_found == 1 ? "" : "s"));
    }
    return std::move(out_);
  }

 private:
  // A configuration may announce MTP layers that the checkpoint does not hold: transformers saves it so.
  int64_t count_mtp_layers() {
    int64_t found = 0;
    for (int64_t i = 0; i < c_.n_mtp_layers; ++i) {
      const std::string prefix = fmt::format("model.layers.{}.", c_.n_layers + i);
      const auto it = checkpoint_.tensors().lower_bound(prefix);
      if (it != checkpoint_.tensors().end() && it->first.starts_with(prefix)) found = i + 1;
    }
    if (found == 0 && c_.n_mtp_layers > 0) {
      out_.notes.push_back(
          fmt::format("config.json announces {} multi-token-prediction layer{}, the checkpoint holds none",
                      c_.n_mtp_layers, c_.n_mtp_layers == 1 ? "" : "s"));
    }
    return found;
  }

  void add_layer(int64_t layer, bool mtp) {
    std::vector<When> whens = {When::layer, c_.q_lora_rank > 0 ? When::query_latent : When::query_plain};
    if (c_.is_dense(layer) && !mtp) {
      whens.push_back(When::dense);
    } else {
      whens.push_back(When::expert);
      if (c_.selection_bias) whens.push_back(When::biased);
    }
    add(layer, mtp, whens);
  }

  // The rows of the table that apply, in its order.
  void add(int64_t layer, bool mtp, const std::vector<When>& whens) {
    for (const Row& row : kRows) {
      if (std::find(whens.begin(), whens.end(), row.when) != whens.end()) add(row, layer, mtp);
    }
  }

  void add(const Row& row, int64_t layer, bool mtp) {
    const std::string hf = substitute(row.hf, "{L}", layer);
    if (row.optional && !checkpoint_.find(hf)) return;
    OutputTensor out;
    out.name = layer < 0 ? row.gguf : name::in_layer(int(layer), row.gguf);
    out.role = row.role;
    out.layer = layer;
    out.mtp = mtp;
    out.transform = row.transform;
    out.shape = file_shape(row, c_);
    const int64_t n_sources = row.transform == Transform::stack ? c_.n_routed_experts : 1;
    for (int64_t e = 0; e < n_sources; ++e) out.sources.push_back(source(substitute(hf, "{E}", e), row));
    out_.tensors.push_back(std::move(out));
  }

  WeightSource source(const std::string& hf, const Row& row) {
    const Shape expected = row.shape(c_);
    WeightSource out;
    out.weight = checkpoint_.find(hf);
    if (!out.weight) {
      if (n_missing_++ == 0) first_missing_ = fmt::format("{} {}", hf, expected.text());
      return out;
    }
    known_.insert(out.weight->name);
    require(out.weight->shape == expected, ErrorKind::model, "{}: expected {}, found {}", out.weight->place(),
            expected.text(), out.weight->shape.text());
    require(out.weight->dtype->usable(), ErrorKind::model, "{}: expected BF16, F16, F32 or F8_E4M3, found {}",
            out.weight->place(), out.weight->dtype->name);
    if (out.weight->dtype->fp8) out.scale = scale_of(*out.weight, hf);
    return out;
  }

  const SourceTensor* scale_of(const SourceTensor& weight, const std::string& hf) {
    require(weight.shape.rank == 2, ErrorKind::model, "{}: expected BF16, F16 or F32 for a vector, found F8_E4M3",
            weight.place());
    const std::string name = hf + "_scale_inv";
    const SourceTensor* scale = checkpoint_.find(name);
    require(scale, ErrorKind::model, "{}: is F8_E4M3, but {} is missing", weight.place(), name);
    known_.insert(scale->name);
    const Shape expected((weight.shape.dim[0] + kScaleBlock - 1) / kScaleBlock,
                         (weight.shape.dim[1] + kScaleBlock - 1) / kScaleBlock);
    require(scale->shape == expected, ErrorKind::model, "{}: expected {} (blocks of 128x128), found {}", scale->place(),
            expected.text(), scale->shape.text());
    require(std::string_view(scale->dtype->name) == "F32", ErrorKind::model, "{}: expected F32, found {}",
            scale->place(), scale->dtype->name);
    return scale;
  }

  void refuse_missing() const {
    require(n_missing_ == 0, ErrorKind::model, "{}: {} tensor{} missing, the first: {}", checkpoint_.dir(), n_missing_,
            n_missing_ == 1 ? " is" : "s are", first_missing_);
  }

  // A tensor that nobody asked for means that the model is not what config.json says: better refused than left out.
  void refuse_unknown(int64_t n_mtp_kept, int64_t n_mtp_found) {
    size_t n_unknown = 0, n_rotary = 0;
    std::string first;
    for (const auto& [name, tensor] : checkpoint_.tensors()) {
      if (known_.contains(name) || in_dropped_mtp(name, n_mtp_kept, n_mtp_found)) continue;
      if (name.ends_with(".rotary_emb.inv_freq")) {  // follows from the configuration
        ++n_rotary;
      } else if (name == "lm_head.weight" && c_.tied_embeddings) {
        out_.notes.push_back("lm_head.weight left out: tie_word_embeddings makes the embedding the head");
      } else if (n_unknown++ == 0) {
        first = fmt::format("{} {} {}", tensor.place(), tensor.dtype->name, tensor.shape.text());
      }
    }
    require(n_unknown == 0, ErrorKind::model, "{}: {} tensor{} not of a {} model with {} layers, the first: {}",
            checkpoint_.dir(), n_unknown, n_unknown == 1 ? " is" : "s are", c_.model_type, c_.n_layers, first);
    if (n_rotary > 0) out_.notes.push_back(fmt::format("{} rotary_emb.inv_freq tensors left out", n_rotary));
  }

  bool in_dropped_mtp(const std::string& name, int64_t n_kept, int64_t n_found) const {
    for (int64_t i = n_kept; i < n_found; ++i) {
      if (name.starts_with(fmt::format("model.layers.{}.", c_.n_layers + i))) return true;
    }
    return false;
  }

  const HfConfig& c_;
  const Checkpoint& checkpoint_;
  NameMap out_;
  std::set<std::string_view> known_;
  size_t n_missing_ = 0;
  std::string first_missing_;
};

}  // namespace

NameMap map_names(const HfConfig& config, const Checkpoint& checkpoint, bool keep_mtp) {
  return Mapper(config, checkpoint).map(keep_mtp);
}

}  // namespace hearth
