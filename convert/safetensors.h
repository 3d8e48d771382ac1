// The safetensors format: a file's tensors, and the index of several files. Nothing is copied.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/mapped_file.h"
#include "quant/tensor.h"

namespace hearth {

inline constexpr const char* kE8M0 = "F8_E8M0";  // powers of two; allowed for scales, not for weights

// One row per element type that a file may hold. `format` is the equivalent Format, or null: for types that no weight
// may have, and for F8_E4M3 (`fp8`), which has one byte per element here and its scales in another tensor.
struct SourceDtype {
  const char* name;  // as in the file: "BF16"
  uint32_t bytes;    // of one element
  const Format* format;
  bool fp8;
  bool usable() const { return format || fp8; }
};
const SourceDtype* find_source_dtype(std::string_view name);  // null: there is none of this name

struct SourceTensor {
  std::string name;
  const SourceDtype* dtype = nullptr;
  Shape shape;  // rank 0: a single value
  std::span<const std::byte> bytes;
  const MappedFile* file = nullptr;  // null when parsed from memory

  std::string place() const;        // "model-00001-of-00004.safetensors: model.norm.weight", for messages
  std::string description() const;  // place, type and shape
  uint32_t elem_bytes() const { return dtype->bytes; }
};

// Before a tensor's bytes are read for a plan. Throws Error(usage) where its file is still to come.
void require_there(const SourceTensor& tensor);

// The tensors of one file, in the order of their data. Nothing in the file is trusted: header length, JSON, types,
// shapes and offsets are checked against `bytes`; tensors may not overlap. Throws Error(format) naming `path`.
std::vector<SourceTensor> parse_safetensors(std::span<const std::byte> bytes, const std::string& path);

// Which file holds which tensor, from the text of model.safetensors.index.json: sorted by name.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text, const std::string& path);

}  // namespace hearth
