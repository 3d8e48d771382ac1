// Which tensors of a checkpoint become which tensors of the file, and how, by the table of names (name_table.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "convert/checkpoint.h"
#include "convert/hf_config.h"
#include "convert/scales.h"

namespace hearth {

// What a tensor is for. Recipes choose formats by role.
enum class Role {
  vector,       // norms, router, router bias: always F32
  embedding,    // token_embd
  head,         // output
  query,        // attn_q, attn_q_a, attn_q_b
  latent,       // attn_kv_a_mqa, attn_k_b, attn_v_b: small, and every key and value passes through them
  attn_output,  // attn_output
  dense_in,     // ffn_gate, ffn_up of the dense layers
  dense_down,
  expert_in,  // of the routed experts
  expert_down,
  shared_in,  // of the shared experts
  shared_down,
  mtp_proj,  // nextn.eh_proj
};
constexpr int kRoles = int(Role::mtp_proj) + 1;

enum class Transform {
  copy,    // as it is
  stack,   // one source per expert, one after the other
  k_part,  // kv_b [H (dn + dv), r] -> attn_k_b [H, r, dn]: the key rows of each head, transposed
  v_part,  // kv_b -> attn_v_b [H, dv, r]: the value rows of each head
};

struct OutputTensor {
  std::string name;
  Role role = Role::vector;
  int64_t layer = -1;  // -1: belongs to no layer
  bool mtp = false;    // of a multi-token-prediction layer
  Transform transform = Transform::copy;
  Shape shape;  // in the file
  std::vector<WeightSource> sources;
};

struct NameMap {
  std::vector<OutputTensor> tensors;  // in the order of the forward, MTP layers last
  int64_t n_mtp_layers = 0;           // MTP layers that the file will hold
  // Single experts, cut out of tensors that hold all experts of a layer; WeightSource pointers point here.
  std::vector<std::unique_ptr<SourceTensor>> cuttings;
  std::vector<std::unique_ptr<CodedWeight>> coded;  // WeightSource pointers point here, too
  std::vector<std::string> notes;
};

// Every tensor that the configuration asks for must be in the checkpoint with the right shape and type, and the
// checkpoint may hold no tensors that are unknown here. MTP layers are recognized by their weights, whether config.json
// announces them or not. Throws Error(model) naming the tensors, what was expected and what was found.
NameMap map_names(const HfConfig& config, const Checkpoint& checkpoint, bool keep_mtp);

}  // namespace hearth
