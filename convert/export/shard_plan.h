// Which tensors an export writes, into which files, and where.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "convert/export/scheme.h"
#include "convert/safetensors_writer.h"

namespace hearth {

// A weight's place: its tensors follow each other in NewTensor's order of its encoder.
struct PlacedWeight {
  size_t weight = 0;              // of the model
  std::vector<uint64_t> offsets;  // in the file, of each of its tensors
};

struct ExportShard {
  std::string name;    // "model-00002-of-00007.safetensors"
  std::string header;  // all that stands before the tensors' bytes
  uint64_t file_bytes = 0, data_bytes = 0;
  std::vector<NewTensor> tensors;
  std::vector<PlacedWeight> weights;  // in the model's order
};

// All weights in their order; a new file begins where the next weight would make one larger than `shard_bytes` (of
// tensors), so only a file of a single weight can be larger.
std::vector<ExportShard> plan_shards(const std::vector<ExportWeight>& weights,
                                     const std::vector<const WeightEncoder*>& encoders, uint64_t shard_bytes);

}  // namespace hearth
