// How a file holds W^UK and W^UV, which lead from the latent up to keys and values: three layouts lie on people's
// disks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "quant/gguf.h"
#include "runtime/model/config.h"

namespace hearth {

enum class KvLayout {
  split,    // attn_k_b [H, r, dn] (W^UK transposed) and attn_v_b [H, dv, r]: ours, llama.cpp's since April 2025
  unsplit,  // attn_kv_b [H (dn + dv), r] alone, per head dn rows of W^UK, then dv rows of W^UV: files before that
  both,     // all three, as makers of files for ik_llama.cpp keep them
};

// By the tensors that layer `layer` has; a layer that has neither is `split`, so that what is missing is named so.
KvLayout kv_layout(const GgufFile& file, int64_t layer);

// Of those of layers [0, n_layers) that the file has, for people: "attn_k_b and attn_v_b", or of how many layers each
// is true where they differ. Empty: of none.
std::string kv_layout_text(const GgufFile& file, int64_t n_layers);
// For programs: "split", "unsplit", "both", "mixed", "none".
std::string kv_layout_name(const GgufFile& file, int64_t n_layers);

// One line for people where a file's layout costs memory when it is loaded, and what is done; empty: it does not.
std::string kv_layout_note(const GgufFile& file, const ModelConfig& config);

// The format of attn_k_b made of an attn_kv_b: W^UK's blocks run along r, and the operations want them along dn, so its
// weights are decoded and transposed. Those of float32 and BF16 stay what they are; F16 holds the others, as its
// rounding (2^-12 relative) is far below that of any quantized format.
const Format& transposed_format(const Format& kv_b);

// attn_k_b [H, r, dn] in transposed_format, of attn_kv_b [H (dn + dv), r].
std::vector<std::byte> transposed_keys(const Tensor& kv_b, const ModelConfig& config);

// attn_v_b [H, dv, r], one head behind the other, of attn_kv_b: for a memory of the backend's own. Elsewhere the rows
// are used where they lie.
std::vector<std::byte> packed_values(const Tensor& kv_b, const ModelConfig& config);

}  // namespace hearth
