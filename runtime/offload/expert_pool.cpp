#include "runtime/offload/expert_pool.h"

#include <algorithm>
#include <cassert>

namespace hearth {
namespace {

size_t matrix_bytes(const Weight& w) {
  return size_t(w.n) * w.row_bytes;
}

}  // namespace

ExpertPool::ExpertPool(Device& device, std::span<const LayerWeights> layers, const ModelSizes& sizes, const Plan& plan)
    : device_(device), n_dense_(sizes.config.n_dense_layers), n_experts_(sizes.config.n_routed_experts) {
  for (size_t i = 0; i < sizes.experts.size(); ++i) {
    const ExpertLayer& layer = sizes.experts[i];
    layers_.push_back({layers[size_t(layer.layer)].experts, layer.slot, layer.expert_bytes, plan.layers[i].slot_class});
    staging_.slot_bytes = std::max(staging_.slot_bytes, layer.slot.bytes);
  }
  staging_.n_slots = plan.n_staging;
  memory_ = Buffer(device, plan.pool_bytes(), "the experts on the GPU");
  std::byte* at = memory_.data();
  for (const SlotClass& cls : plan.slots) {
    classes_.push_back({at, cls.bytes, cls.n_slots});
    at += size_t(cls.n_slots) * cls.bytes;
  }
  staging_.slots = at;
  at += size_t(staging_.n_slots) * staging_.slot_bytes;
  tables_ = reinterpret_cast<int32_t*>(at);
  staging_tables_ = tables_ + int64_t(layers_.size()) * n_experts_;
  gpu_tables_.assign(layers_.size() * size_t(n_experts_), -1);
  for (size_t layer = 0; layer < layers_.size(); ++layer)
    for (int64_t e = 0; e < n_experts_; ++e) host_tables_.push_back(int32_t(e));
}

size_t ExpertPool::largest_expert() const {
  size_t largest = 0;
  for (const Layer& layer : layers_) largest = std::max(largest, layer.expert_bytes);
  return largest;
}

std::span<const int32_t> ExpertPool::gpu_slots(int64_t layer) const {
  return std::span(gpu_tables_).subspan(table_at(layer), size_t(n_experts_));
}

FfnWeights ExpertPool::view(int64_t layer, const Class& slots, const int32_t* table) const {
  FfnWeights w = layer_of(layer).file;
  w.gate.data = slots.slots;
  w.up.data = slots.slots + layer_of(layer).slot.up_at;
  w.down.data = slots.slots + layer_of(layer).slot.down_at;
  for (Weight* part : {&w.gate, &w.up, &w.down}) {
    part->count = std::max<int64_t>(slots.n_slots, 1);  // without any slot nothing of it is read
    part->matrix_stride = slots.slot_bytes;
  }
  w.slots = table;
  w.n_slots = n_experts_;
  return w;
}

FfnWeights ExpertPool::on_gpu(int64_t layer) const {
  return view(layer, classes_[size_t(layer_of(layer).cls)], tables_ + table_at(layer));
}

FfnWeights ExpertPool::on_host(int64_t layer) const {
  FfnWeights w = layer_of(layer).file;
  w.slots = host_tables_.data() + table_at(layer);
  w.n_slots = n_experts_;
  return w;
}

int64_t ExpertPool::copy_into(int64_t layer, int64_t expert, std::byte* slot) {
  const FfnWeights& w = layer_of(layer).file;
  device_.fetch(w.gate.row(expert, 0), slot, matrix_bytes(w.gate));
  device_.fetch(w.up.row(expert, 0), slot + layer_of(layer).slot.up_at, matrix_bytes(w.up));
  return device_.fetch(w.down.row(expert, 0), slot + layer_of(layer).slot.down_at, matrix_bytes(w.down));
}

int64_t ExpertPool::load(int64_t layer, int64_t expert, int64_t slot) {
  const Class& cls = classes_[size_t(layer_of(layer).cls)];
  assert(slot >= 0 && slot < cls.n_slots);
  return copy_into(layer, expert, cls.slots + size_t(slot) * cls.slot_bytes);
}

void ExpertPool::set(int64_t layer, int64_t expert, int32_t slot) {
  const size_t at = table_at(layer) + size_t(expert);
  gpu_tables_[at] = slot;
  host_tables_[at] = slot < 0 ? int32_t(expert) : -1;
  changed_ = true;
}

void ExpertPool::publish() {
  if (!changed_) return;
  device_.move(gpu_tables_.data(), tables_, gpu_tables_.size() * sizeof(int32_t));
  changed_ = false;
}

int64_t ExpertPool::stage(int64_t layer, int64_t expert, int64_t staging_slot) {
  assert(staging_slot >= 0 && staging_slot < staging_.n_slots);
  return copy_into(layer, expert, staging_.slots + size_t(staging_slot) * staging_.slot_bytes);
}

FfnWeights ExpertPool::staged(int64_t layer, std::span<const int32_t> experts, int64_t first) {
  assert(first + int64_t(experts.size()) <= staging_.n_slots);
  std::vector<int32_t> table(size_t(n_experts_), -1);
  for (size_t i = 0; i < experts.size(); ++i) table[size_t(experts[i])] = int32_t(first) + int32_t(i);
  int32_t* const to = staging_tables_ + first * n_experts_;
  device_.move(table.data(), to, table.size() * sizeof(int32_t));
  return view(layer, staging_, to);
}

}  // namespace hearth
