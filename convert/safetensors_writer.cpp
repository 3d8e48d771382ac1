#include "convert/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <numeric>

#include "convert/safetensors.h"

namespace hearth {
namespace {

uint64_t element_bytes(const NewTensor& tensor) {
  const SourceDtype* dtype = find_source_dtype(tensor.dtype);
  assert(dtype);
  return dtype->bytes;
}

std::string dimensions(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape.dim.begin(), shape.dim.begin() + shape.rank, ","));
}

}  // namespace

uint64_t NewTensor::bytes() const {
  return uint64_t(shape.elems()) * element_bytes(*this);
}

SafetensorsLayout lay_out_safetensors(std::span<const NewTensor> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return element_bytes(tensors[i]); });

  SafetensorsLayout layout;
  layout.offsets.resize(tensors.size());
  std::string json = R"({"__metadata__":{"format":"pt"})";
  uint64_t at = 0;
  for (const size_t i : order) {
    const NewTensor& tensor = tensors[i];
    const uint64_t end = at + tensor.bytes();
    json += fmt::format(R"(,"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", tensor.name, tensor.dtype,
                        dimensions(tensor.shape), at, end);
    layout.offsets[i] = at;
    at = end;
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const uint64_t length = json.size();
  layout.header.resize(sizeof length);
  std::memcpy(layout.header.data(), &length, sizeof length);
  layout.header += json;
  for (uint64_t& offset : layout.offsets) offset += layout.header.size();
  layout.file_bytes = layout.header.size() + at;
  return layout;
}

std::string safetensors_index(std::vector<IndexEntry> entries, uint64_t total_bytes) {
  std::ranges::sort(entries, {}, &IndexEntry::tensor);
  std::string json =
      fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total_bytes);
  const char* between = "\n";
  for (const IndexEntry& entry : entries) {
    json += fmt::format("{}    \"{}\": \"{}\"", between, entry.tensor, entry.file);
    between = ",\n";
  }
  return json + "\n  }\n}\n";
}

}  // namespace hearth
