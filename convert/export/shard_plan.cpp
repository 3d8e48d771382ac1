#include "convert/export/shard_plan.h"

namespace hearth {
namespace {

uint64_t bytes_of(const std::vector<NewTensor>& tensors) {
  uint64_t bytes = 0;
  for (const NewTensor& tensor : tensors) bytes += tensor.bytes();
  return bytes;
}

void lay_out(ExportShard& shard) {
  const SafetensorsLayout layout = lay_out_safetensors(shard.tensors);
  shard.header = layout.header;
  shard.file_bytes = layout.file_bytes;
  auto next = layout.offsets.begin();
  for (PlacedWeight& weight : shard.weights) {
    for (uint64_t& offset : weight.offsets) offset = *next++;
  }
}

}  // namespace

std::vector<ExportShard> plan_shards(const std::vector<ExportWeight>& weights,
                                     const std::vector<const WeightEncoder*>& encoders, uint64_t shard_bytes) {
  std::vector<ExportShard> shards(1);
  for (size_t i = 0; i < weights.size(); ++i) {
    const std::vector<NewTensor> tensors = encoders[i]->tensors(weights[i]);
    const uint64_t bytes = bytes_of(tensors);
    if (!shards.back().weights.empty() && shards.back().data_bytes + bytes > shard_bytes) shards.emplace_back();
    ExportShard& shard = shards.back();
    shard.data_bytes += bytes;
    shard.weights.push_back({i, std::vector<uint64_t>(tensors.size())});
    shard.tensors.insert(shard.tensors.end(), tensors.begin(), tensors.end());
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    lay_out(shards[i]);
  }
  return shards;
}

}  // namespace hearth
