// What importance is made of (quant/importance_file.h): for every matrix of a model, by expert and by head, the sum of
// squares of each of its input columns, and the tokens. Matrices that read the same input share their sums: a V3's take
// 0.55 GB.
//
// Under their GGUF names: attn_q or attn_q_a and attn_q_b, attn_kv_a_mqa, attn_k_b and attn_v_b by head (what enters
// them in absorbed attention: queries and weighted sums of latents), attn_kv_b (c^KV), attn_output, ffn_*, ffn_*_exps
// by expert, ffn_*_shexp, output. Not the embedding, which multiplies nothing, not the router, which is never
// quantized, and not the layers for multi-token prediction, which are not run.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/listening.h"
#include "quant/importance_file.h"
#include "runtime/model/config.h"

namespace hearth {

class Model;

class InputSums : public InputListener {
 public:
  // Listens to this model from now on: whose option `inputs` names this object.
  void begin(const Model& model);

  void hear(const Weight& w, int64_t matrix, Mat<const float> x) override;
  void hear_latent(const float* norm, Mat<const float> c_kv) override;
  // Throws Error(model) naming a matrix whose inputs were not finite.
  void require_finite() const;

  // Adds what an earlier run gathered. Names that this model does not have are kept as they are. After `begin`. Throws
  // Error(model): of another model; Error(format): not finite, or without numbers of tokens (.dat).
  void add(const ImportanceFile& file);

  // By name. Views of this object.
  std::vector<ImportanceSums> entries() const;
  ExpertsSeen experts_seen() const;

 private:
  struct Input {
    std::vector<std::string> names;  // of the tensors that it enters
    int64_t columns = 0;
    std::vector<float> sums;    // [matrices, columns]
    std::vector<float> counts;  // [matrices]
  };

  void hear(Input& input, int64_t matrix, Mat<const float> x);
  void listen(const void* at, std::vector<std::string> names, int64_t matrices, int64_t columns);
  void add(Input& input, const ImportanceFile& file, std::string_view name);

  std::map<const void*, Input> inputs_;  // by the data of the first matrix that reads it, or of attn_kv_a_norm
  std::map<std::string, Input> others_;  // of files, by name
  std::vector<float> squares_;           // of one call
  std::string not_finite_;               // the first matrix that heard such
};

}  // namespace hearth
