// Split files as others make them: a part for every tensor, and a first part with metadata alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "tests/quant/gguf_bytes.h"

namespace hearth::test {

inline std::string part_name(uint64_t i, uint64_t count, const std::string& prefix = "m") {
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, i + 1, count);
}

// The keys of part i, from 0, which the caller's header counts: three.
inline void add_split_keys(GgufBytes& part, uint64_t i, uint64_t count, uint64_t n_tensors) {
  part.key(key::kSplitNo, GgufType::u16).number(uint16_t(i));
  part.key(key::kSplitCount, GgufType::u16).number(uint16_t(count));
  part.key(key::kSplitTensorsCount, GgufType::i32).number(int32_t(n_tensors));
}

// Part i with one tensor: its row-major shape turned, as GGUF has it.
inline GgufBytes tensor_part(const Tensor& tensor, uint64_t i, uint64_t count, uint64_t n_tensors) {
  std::vector<uint64_t> dims;
  for (int axis = tensor.shape.rank - 1; axis >= 0; --axis) dims.push_back(uint64_t(tensor.shape.dim[size_t(axis)]));
  GgufBytes part;
  part.header(1, 3);
  add_split_keys(part, i, count, n_tensors);
  part.tensor(tensor.name, dims, uint32_t(tensor.format->id), 0).pad(32);
  return part.raw({reinterpret_cast<const char*>(tensor.data), tensor.bytes()});
}

// Writes all tensors of `whole` into parts of their own, in `folder`, behind a first part that has the metadata and no
// tensor. Returns the first part's path.
inline std::string split_one_by_one(const GgufFile& whole, const std::string& folder) {
  const uint64_t n_tensors = whole.tensors().size(), count = n_tensors + 1;
  const auto path = [&](uint64_t i) { return folder + "/" + part_name(i, count); };
  GgufMetadata metadata = whole.metadata();
  metadata.set(key::kSplitNo, GgufValue::of_u16(0));
  metadata.set(key::kSplitCount, GgufValue::of_u16(uint16_t(count)));
  metadata.set(key::kSplitTensorsCount, GgufValue::of_i32(int32_t(n_tensors)));
  GgufWriter(path(0), metadata, {}, 32).finish();
  for (uint64_t i = 0; i < n_tensors; ++i) {
    write_text(path(i + 1), tensor_part(whole.tensors()[i], i + 1, count, n_tensors).text());
  }
  return path(0);
}

}  // namespace hearth::test
