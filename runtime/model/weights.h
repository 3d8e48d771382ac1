// The model's tensors by role: found by name, checked, and made usable by the backend.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "quant/gguf.h"
#include "quant/round_up.h"
#include "runtime/model/buffer.h"
#include "runtime/model/config.h"

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

struct Weights {
  Weight token_embd;                   // [V, d]
  const float* output_norm = nullptr;  // [d]
  Weight output;                       // [V, d]; the embedding where the file has none (tied)
  std::vector<LayerWeights> layers;

  uint64_t active_bytes = 0;                  // read for one decoded token: K of E experts, one row of the embedding
  std::vector<std::vector<std::byte>> owned;  // weights that had to be rearranged: those of old files
  Buffer memory;                              // all of these, where the backend has a memory of its own
};

// Looks every tensor up and hands it to the backend, which reads it where it lies: in the mapped file, of which nothing
// is read here; or in a memory of its own, into which it is copied, one tensor behind the other in one allocation.
// Accepted besides the current layout: attn_kv_b (kv_layout.h), attn_k_b and attn_v_b with heads and rows in one axis,
// gate and up experts fused in one tensor.
// `progress` is told the bytes copied, of weight_bytes.
// Throws Error(model): a tensor that is missing, of another shape, or of a layer but unknown to us; Error(resource).
// Where `all` is false, routed experts are left where they lie in the file.
Weights load_weights(const GgufFile& file, const ModelConfig& config, Device& device, bool all = true,
                     const std::function<void(uint64_t done, uint64_t total)>& progress = {});

// Bytes that they take in a memory of the backend's own. Throws as load_weights does, of the file's faults.
uint64_t weight_bytes(const GgufFile& file, const ModelConfig& config, bool all = true);

// Where a tensor begins in such a memory is a multiple of this: more than any kernel asks for.
inline constexpr size_t kWeightAlign = 256;
inline uint64_t aligned_bytes(uint64_t bytes) {
  return round_up(bytes, kWeightAlign);
}

// A tensor as the operations want it, which is not always how the file has it: norms become float32, an old file's
// attn_kv_b becomes attn_k_b and attn_v_b.
struct WeightSize {
  std::string name;
  int64_t layer = -1;  // -1: of none
  const Format* format = nullptr;
  Shape shape;
  uint64_t extent = 0;  // as of Tensor

  uint64_t row_bytes() const { return bytes() / uint64_t(shape.rows()); }
  uint64_t bytes() const {
    return format->sized() ? uint64_t(format->bytes(shape.cols())) * uint64_t(shape.rows()) : extent;
  }
};

// Looks at the tensors of layers for MTP, which load_weights leaves alone. Throws Error(model): one is missing, or of
// another shape.
void check_mtp_layers(const GgufFile& file, const ModelConfig& config);

// Which tensors of the model are in formats that are only listed (quant/format.h), in words: how many, which formats,
// the first tensor. Empty: none, and load_weights may be called. Throws as weight_sizes does.
std::string not_computed(const GgufFile& file, const ModelConfig& config);

// All of them, in the order in which they are loaded: weight_bytes is the sum of their aligned_bytes. Nothing but the
// header is read, and their formats need not be computed. Throws as load_weights does, of the file's faults.
std::vector<WeightSize> weight_sizes(const GgufFile& file, const ModelConfig& config, bool all = true);

}  // namespace hearth
