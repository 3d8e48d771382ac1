// Importance (quant/importance_file.h) as the encoders want it: for every matrix of the file to be made, a weight for
// the error of each of its columns.
//
// A column's weight is the mean square of what it is multiplied by. Experts that saw few tokens tell little of their
// own, so each expert's mean is taken as if it had seen kFewTokens tokens more (with 32 tokens, half its own):
//   gate and up   tokens like those of the layer's other experts: all read the same stream, in which the same columns
//                 are large whichever expert is chosen;
//   down          tokens in which all columns are alike: column c of one expert's inner layer has nothing to do with
//                 column c of another's.
// An expert of a .dat file, which has no numbers of tokens, is one that saw none where all its values are the same, and
// otherwise one that saw enough. No column weighs less than kFloor of its matrix's mean: what a text never needed
// another one may.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "quant/importance_file.h"

namespace hearth {

// The weights of a tensor's columns.
class ColumnWeights {
 public:
  ColumnWeights() = default;  // none: all columns are alike
  ColumnWeights(std::vector<float> weights, const Shape& shape)
      : weights_(std::move(weights)), cols_(shape.cols()), rows_(shape.rows() * cols_ / int64_t(weights_.size())) {}

  explicit operator bool() const { return !weights_.empty(); }
  // Of row i of the tensor, [cols]; null: none.
  const float* of_row(int64_t i) const { return weights_.empty() ? nullptr : weights_.data() + i / rows_ * cols_; }

 private:
  std::vector<float> weights_;   // [matrices, cols]
  int64_t cols_ = 0, rows_ = 1;  // of a matrix
};

class Importance {
 public:
  static constexpr float kFloor = 1e-5f;

  // Of the model whose file will have these tensors (those in the appendix, for multi-token prediction, have none).
  // Throws Error(file), Error(format): not importance; Error(model): of another model.
  Importance(const std::string& path, const std::vector<GgufTensorPlan>& tensors);

  // Of one of these tensors. Where the file has none under its name, but under another one for the same input, that
  // counts: one name of fused gate and up experts for the other; attn_kv_b for attn_v_b, and the other way round the
  // mean of its heads. None otherwise. Throws Error(format): values that are negative or not finite.
  ColumnWeights of(const GgufTensorPlan& tensor) const;

  // What a quantized file says of the importance that it was made with: llama.cpp's keys.
  void set_keys(GgufMetadata& metadata) const;
  // What the user should know: matrices without importance, experts that saw few tokens.
  std::vector<std::string> notes() const;
  // All that decides the weights, for FileToMake::settings.
  std::string settings() const;

 private:
  struct Source {
    const ImportanceEntry* entry = nullptr;
    std::string name;
    bool mean_of_heads = false;
  };
  Source find(const std::string& tensor) const;
  void require_fits(const GgufTensorPlan& tensor, const Source& source) const;
  void require_names(const std::vector<GgufTensorPlan>& tensors) const;

  ImportanceFile file_;
  std::vector<std::string> missing_;  // matrices that are quantized without
};

// Of the importance that a file is made by, if any.
ColumnWeights weights_of(const std::optional<Importance>& importance, const GgufTensorPlan& tensor);

// The keys with which a file tells of the importance that it was made by.
inline constexpr const char* kImportanceKeys[] = {key::kQuantizeImatrixFile, key::kQuantizeImatrixDataset,
                                                  key::kQuantizeImatrixEntries, key::kQuantizeImatrixChunks};

// The importance by which a file is to be made: `metadata` tells of it then, `notes` what the user should know. Empty
// `path`: none. Throws as the constructor does.
std::optional<Importance> open_importance(const std::string& path, const std::vector<GgufTensorPlan>& tensors,
                                          GgufMetadata& metadata, std::vector<std::string>& notes);

}  // namespace hearth
