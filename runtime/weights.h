// The model's tensors by role: found by name, checked, and made usable by the backend.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/ops.h"
#include "quant/gguf.h"
#include "runtime/config.h"

namespace hearth {

// Letters as in quant/gguf_keys.h. What a layer does not have stays empty.
struct LayerWeights {
  const float* attn_norm = nullptr;       // [d]
  Weight attn_q;                          // [H (dn + dr), d]: models without a query latent (Lite)
  Weight attn_q_a;                        // [Q, d]
  const float* attn_q_a_norm = nullptr;   // [Q]
  Weight attn_q_b;                        // [H (dn + dr), Q]
  Weight attn_kv_a_mqa;                   // [r + dr, d]
  const float* attn_kv_a_norm = nullptr;  // [r]
  Weight attn_k_b;                        // [H, r, dn], transposed
  Weight attn_v_b;                        // [H, dv, r]
  Weight attn_output;                     // [d, H dv]
  const float* ffn_norm = nullptr;        // [d]

  FfnWeights ffn;                      // dense layers: [I, d], [I, d], [d, I]
  Weight ffn_gate_inp;                 // MoE layers: the router [E, d]
  const float* exp_probs_b = nullptr;  // [E], sigmoid routing; may be absent
  FfnWeights experts;                  // [E, M, d], [E, M, d], [E, d, M]
  FfnWeights shared;                   // [S M, d], [S M, d], [d, S M]
};

// Gives back to the backend what it adopted.
class AdoptedWeights {
 public:
  explicit AdoptedWeights(const Ops& ops) : ops_(&ops) {}
  ~AdoptedWeights() {
    for (const Weight& w : weights_) ops_->discard(w);
  }
  AdoptedWeights(AdoptedWeights&&) = default;
  AdoptedWeights& operator=(AdoptedWeights&&) = delete;
  void add(const Weight& w) { weights_.push_back(w); }

 private:
  const Ops* ops_;
  std::vector<Weight> weights_;
};

struct Weights {
  Weight token_embd;                   // [V, d]
  const float* output_norm = nullptr;  // [d]
  Weight output;                       // [V, d]; the embedding where the file has none (tied)
  std::vector<LayerWeights> layers;

  uint64_t active_bytes = 0;                  // read for one decoded token: K of E experts, one row of the embedding
  std::vector<std::vector<std::byte>> owned;  // weights that had to be rearranged: those of old files
  AdoptedWeights adopted;                     // what the backend gave for all of these
};

// Looks every tensor up and hands it to the backend; of a mapped file nothing is read. Accepted besides the current
// layout: an unsplit attn_kv_b (old files: W^UK is decoded and transposed here, once), attn_k_b and attn_v_b with heads
// and rows in one axis, gate and up experts fused in one tensor.
// `progress` is told the bytes handed over, of weight_bytes.
// Throws Error(model): a tensor that is missing, of another shape, or of a layer but unknown to us; Error(resource).
Weights load_weights(const GgufFile& file, const ModelConfig& config, const Ops& ops,
                     const std::function<void(uint64_t done, uint64_t total)>& progress = {});

// Bytes of the file's tensors, those of layers that are not run aside; each that is larger than `page` counts with
// whole ones.
uint64_t weight_bytes(const GgufFile& file, const ModelConfig& config, uint64_t page = 1);

}  // namespace hearth
