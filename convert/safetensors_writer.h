// The safetensors format, written: where each tensor of a file lies, and the header that says so.
//
//   u64 length of the header   JSON, filled up with spaces to a multiple of 8   the tensors' bytes, without gaps
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "quant/tensor.h"

namespace hearth {

// A tensor of a file to be written. The name is printable ASCII without quotes and backslashes.
struct NewTensor {
  std::string name;
  const char* dtype;  // as in the file: "BF16"
  Shape shape;
  uint64_t bytes() const;
};

struct SafetensorsLayout {
  std::string header;             // all that stands before the tensors' bytes
  std::vector<uint64_t> offsets;  // in the file, of each tensor, in the order they were given
  uint64_t file_bytes = 0;
};

// Tensors with larger elements come first, so that each lies at a multiple of its element's size though readers of the
// format allow no gaps; beyond that they keep their order. The header says that they are PyTorch's, which
// transformers asks for.
SafetensorsLayout lay_out_safetensors(std::span<const NewTensor> tensors);

// The text of model.safetensors.index.json: the file of each tensor, and how many bytes all tensors have.
struct IndexEntry {
  std::string tensor, file;
};
std::string safetensors_index(std::vector<IndexEntry> entries, uint64_t total_bytes);

}  // namespace hearth
