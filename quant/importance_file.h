// Importance: what the columns of a model's matrices were multiplied by, gathered over a text (an "importance matrix").
// Quantizing weighs the errors of a matrix's columns by the mean square of that. Two forms of file:
//
//   GGUF   llama.cpp's since 2025 and ours: general.type = "imatrix", imatrix.datasets (strings), imatrix.chunk_count
//          and imatrix.chunk_size (u32); for every matrix NAME two F32 tensors, NAME.in_sum2 [matrices, columns], the
//          sum of squares of each input over all tokens, and NAME.counts [matrices, 1], the tokens. `matrices` is the
//          number of experts or heads where NAME stacks them; some files have the heads of a tensor in one row,
//          [1, heads * columns], with one count for all. Other tensors (NAME.in_sum) are not looked at.
//   .dat   llama.cpp's older one, little-endian: i32 entries, then for each i32 length and the name, i32 calls, i32
//          values, f32[values], the means of squares times calls; last, which may be missing, i32 chunks, i32 length
//          and the text's name. It does not tell how many tokens each expert saw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/mapped_file.h"

namespace hearth {

// Of one tensor's matrices.
struct ImportanceEntry {
  int64_t n_values = 0;               // matrices times columns
  const std::byte* values = nullptr;  // f32 [n_values], not aligned
  std::vector<float> counts;          // tokens: of each matrix, or one number for all; empty: the file does not tell
};

struct ImportanceContents {
  std::map<std::string, ImportanceEntry, std::less<>> entries;
  std::vector<std::string> datasets;  // of which texts; may be empty
  uint64_t n_chunks = 0;              // 0: not known
  uint64_t chunk_tokens = 0;          // likewise
};

// Reads either form from memory; what is returned points into `bytes`. Throws Error(format) naming `source`: neither
// form, or corrupt.
ImportanceContents parse_importance(std::span<const std::byte> bytes, const std::string& source);

class ImportanceFile : public ImportanceContents {
 public:
  // Throws Error(file), Error(format).
  static ImportanceFile open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  std::span<const std::byte> bytes() const { return file_.bytes(); }
  // The values of an entry of this file. Throws Error(format): one that is negative or not finite.
  std::vector<float> values(std::string_view name) const;

 private:
  explicit ImportanceFile(MappedFile file) : file_(std::move(file)) {}
  MappedFile file_;
};

// What write_importance writes of one tensor.
struct ImportanceSums {
  std::string name;
  std::span<const float> sums;    // [matrices, columns], of squares
  std::span<const float> counts;  // [matrices]
};

// The GGUF form, in the order given. Written under a temporary name first, as all GGUF files are (gguf.h). Throws
// Error(file).
void write_importance(const std::string& path, std::span<const ImportanceSums> entries,
                      const std::vector<std::string>& datasets, uint64_t n_chunks, uint64_t chunk_tokens);

// An expert that saw fewer tokens than this has an importance that says little of it.
inline constexpr float kFewTokens = 32;

// The experts of all layers, and how many of them saw few tokens, or none.
struct ExpertsSeen {
  int64_t layers = 0, experts = 0;  // experts of a layer
  int64_t few = 0, none = 0;        // of layers * experts; `none` are among `few`

  // The tokens that each expert of one more layer saw.
  void add_layer(std::span<const float> counts);
  // "12 of 26 x 64 experts saw fewer than 32 tokens, 3 of them none"; empty: all saw enough.
  std::string text() const;
};
ExpertsSeen experts_seen(const ImportanceContents& contents);

}  // namespace hearth
