#include "convert/name_table.h"

#include <algorithm>

#include "quant/gguf_keys.h"

namespace hearth {

namespace {

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

const NameRow kRows[] = {
    {"model.embed_tokens.weight", name::kTokenEmbd, Role::embedding, Transform::copy, When::begin, mat_vocab},

    // The input of an MTP layer is made of a token and the hidden state of the token before it.
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
    {MLP "experts.{E}.gate_proj.weight",
     name::kFfnGateExps,
     Role::expert_in,
     Transform::stack,
     When::expert,
     mat_expert_in,
     false,
     {MLP "experts.gate_up_proj", 0, 2}},
    {MLP "experts.{E}.up_proj.weight",
     name::kFfnUpExps,
     Role::expert_in,
     Transform::stack,
     When::expert,
     mat_expert_in,
     false,
     {MLP "experts.gate_up_proj", 1, 2}},
    {MLP "experts.{E}.down_proj.weight",
     name::kFfnDownExps,
     Role::expert_down,
     Transform::stack,
     When::expert,
     mat_expert_down,
     false,
     {MLP "experts.down_proj"}},
    {MLP "shared_experts.gate_proj.weight", name::kFfnGateShexp, Role::shared_in, Transform::copy, When::shared,
     mat_shared_in},
    {MLP "shared_experts.up_proj.weight", name::kFfnUpShexp, Role::shared_in, Transform::copy, When::shared,
     mat_shared_in},
    {MLP "shared_experts.down_proj.weight", name::kFfnDownShexp, Role::shared_down, Transform::copy, When::shared,
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

std::string with_number(std::string_view text, std::string_view what, int64_t number) {
  std::string out(text);
  const size_t at = out.find(what);
  return at == std::string::npos ? out : out.replace(at, what.size(), std::to_string(number));
}

// Adds the rows that apply, in the table's order.
void place(const std::vector<When>& whens, int64_t layer, bool mtp, std::vector<PlacedRow>& to) {
  for (const NameRow& row : kRows) {
    if (std::ranges::find(whens, row.when) != whens.end()) to.push_back({&row, layer, mtp});
  }
}

void place_layer(const HfConfig& c, int64_t layer, bool mtp, std::vector<PlacedRow>& to) {
  std::vector<When> whens = {When::layer, c.q_lora_rank > 0 ? When::query_latent : When::query_plain};
  if (c.is_dense(layer) && !mtp) {
    whens.push_back(When::dense);
  } else {
    whens.push_back(When::expert);
    if (c.n_shared_experts > 0) whens.push_back(When::shared);
    if (c.selection_bias) whens.push_back(When::biased);
  }
  place(whens, layer, mtp, to);
}

}  // namespace

std::span<const NameRow> name_table() {
  return kRows;
}

std::string PlacedRow::hf() const {
  return with_number(row->hf, "{L}", layer);
}

std::string PlacedRow::hf_fused() const {
  return row->fused.hf ? with_number(row->fused.hf, "{L}", layer) : "";
}

std::string PlacedRow::gguf() const {
  return layer < 0 ? row->gguf : name::in_layer(int(layer), row->gguf);
}

Shape PlacedRow::file_shape(const HfConfig& c) const {
  const Shape source = row->shape(c);
  switch (row->transform) {
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

std::vector<PlacedRow> placed_rows(const HfConfig& c, int64_t n_mtp_layers) {
  std::vector<PlacedRow> rows;
  place({When::begin}, -1, false, rows);
  for (int64_t layer = 0; layer < c.n_layers; ++layer) place_layer(c, layer, false, rows);
  place({When::end}, -1, false, rows);
  if (!c.tied_embeddings) place({When::end_untied}, -1, false, rows);
  for (int64_t layer = c.n_layers; layer < c.n_layers + n_mtp_layers; ++layer) {
    place({When::mtp_begin}, layer, true, rows);
    place_layer(c, layer, true, rows);
    place({When::mtp_end}, layer, true, rows);
  }
  return rows;
}

std::string of_expert(std::string_view hf, int64_t expert) {
  return with_number(hf, "{E}", expert);
}

}  // namespace hearth
