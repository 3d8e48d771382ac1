#include "runtime/expert_pool.h"

#include <algorithm>
#include <cassert>

namespace hearth {
namespace {

constexpr size_t kAlign = 256;  // more than any kernel asks for

size_t aligned(size_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

size_t matrix_bytes(const Weight& w) {
  return size_t(w.n) * w.row_bytes;
}

size_t slot_bytes_of(const FfnWeights& w) {
  return aligned(matrix_bytes(w.gate)) + aligned(matrix_bytes(w.up)) + aligned(matrix_bytes(w.down));
}

}  // namespace

SlotClasses slot_classes(std::span<const LayerWeights> layers) {
  SlotClasses result;
  for (const LayerWeights& layer : layers) {
    if (!layer.ffn_gate_inp) {
      result.of_layer.push_back(-1);
      continue;
    }
    const size_t bytes = slot_bytes_of(layer.experts);
    auto found = std::ranges::find(result.classes, bytes, &SlotClass::slot_bytes);
    if (found == result.classes.end()) found = result.classes.insert(found, {bytes, 0});
    found->n_experts += layer.experts.gate.count;
    result.of_layer.push_back(int(found - result.classes.begin()));
  }
  return result;
}

size_t ExpertPool::bytes_for(const SlotClasses& classes, std::span<const int64_t> n_slots, int64_t n_staging,
                             int64_t n_experts) {
  size_t bytes = 0, largest = 0;
  for (size_t i = 0; i < classes.classes.size(); ++i) {
    bytes += size_t(n_slots[i]) * classes.classes[i].slot_bytes;
    largest = std::max(largest, classes.classes[i].slot_bytes);
  }
  bytes += size_t(n_staging) * largest;
  return bytes + aligned((classes.of_layer.size() + size_t(n_staging)) * size_t(n_experts) * sizeof(int32_t));
}

ExpertPool::ExpertPool(const Ops& ops, std::span<const LayerWeights> layers, std::span<const int64_t> n_slots,
                       int64_t n_staging)
    : ops_(ops),
      layers_(layers),
      classes_(slot_classes(layers)),
      n_slots_(n_slots.begin(), n_slots.end()),
      n_staging_(n_staging) {
  assert(n_slots_.size() == classes_.classes.size());
  for (const LayerWeights& layer : layers) n_experts_ = std::max(n_experts_, layer.experts.gate.count);
  memory_ = Buffer(ops, bytes_for(classes_, n_slots_, n_staging, n_experts_), "the experts on the GPU");
  std::byte* at = memory_.data();
  for (size_t i = 0; i < classes_.classes.size(); ++i) {
    slots_.push_back(at);
    at += size_t(n_slots_[i]) * classes_.classes[i].slot_bytes;
    staging_bytes_ = std::max(staging_bytes_, classes_.classes[i].slot_bytes);
  }
  staging_ = at;
  at += size_t(n_staging_) * staging_bytes_;
  tables_ = reinterpret_cast<int32_t*>(at);
  staging_tables_ = tables_ + int64_t(layers.size()) * n_experts_;
  gpu_tables_.assign(layers.size() * size_t(n_experts_), -1);
  for (size_t layer = 0; layer < layers.size(); ++layer)
    for (int64_t e = 0; e < n_experts_; ++e) host_tables_.push_back(int32_t(e));
}

size_t ExpertPool::expert_bytes(int64_t layer) const {
  const FfnWeights& w = layers_[size_t(layer)].experts;
  return matrix_bytes(w.gate) + matrix_bytes(w.up) + matrix_bytes(w.down);
}

std::span<const int32_t> ExpertPool::gpu_slots(int64_t layer) const {
  return std::span(gpu_tables_).subspan(size_t(layer * n_experts_), size_t(n_experts_));
}

ExpertPool::Parts ExpertPool::parts_of(const FfnWeights& w) {
  const size_t up = aligned(matrix_bytes(w.gate));
  return {up, up + aligned(matrix_bytes(w.up))};
}

FfnWeights ExpertPool::view(int64_t layer, std::byte* slots, size_t slot_bytes, int64_t n, const int32_t* table) const {
  FfnWeights w = layers_[size_t(layer)].experts;
  const Parts parts = parts_of(w);
  w.gate.data = slots;
  w.up.data = slots + parts.up;
  w.down.data = slots + parts.down;
  for (Weight* part : {&w.gate, &w.up, &w.down}) {
    part->count = std::max<int64_t>(n, 1);  // without any slot nothing of it is read
    part->matrix_stride = slot_bytes;
  }
  w.slots = table;
  w.n_slots = n_experts_;
  return w;
}

FfnWeights ExpertPool::on_gpu(int64_t layer) const {
  const size_t cls = size_t(classes_.of_layer[size_t(layer)]);
  return view(layer, slots_[cls], classes_.classes[cls].slot_bytes, n_slots_[cls], tables_ + layer * n_experts_);
}

FfnWeights ExpertPool::on_host(int64_t layer) const {
  FfnWeights w = layers_[size_t(layer)].experts;
  w.slots = host_tables_.data() + layer * n_experts_;
  w.n_slots = n_experts_;
  return w;
}

int64_t ExpertPool::copy_into(int64_t layer, int64_t expert, std::byte* slot) {
  const FfnWeights& w = layers_[size_t(layer)].experts;
  const Parts parts = parts_of(w);
  ops_.fetch(w.gate.row(expert, 0), slot, matrix_bytes(w.gate));
  ops_.fetch(w.up.row(expert, 0), slot + parts.up, matrix_bytes(w.up));
  return ops_.fetch(w.down.row(expert, 0), slot + parts.down, matrix_bytes(w.down));
}

int64_t ExpertPool::load(int64_t layer, int64_t expert, int64_t slot) {
  const size_t cls = size_t(classes_.of_layer[size_t(layer)]);
  assert(slot >= 0 && slot < n_slots_[cls]);
  return copy_into(layer, expert, slots_[cls] + size_t(slot) * classes_.classes[cls].slot_bytes);
}

void ExpertPool::set(int64_t layer, int64_t expert, int32_t slot) {
  const size_t at = size_t(layer * n_experts_ + expert);
  gpu_tables_[at] = slot;
  host_tables_[at] = slot < 0 ? int32_t(expert) : -1;
  changed_ = true;
}

void ExpertPool::publish(const Exec& exec) {
  if (!changed_) return;
  ops_.move(exec, gpu_tables_.data(), tables_, gpu_tables_.size() * sizeof(int32_t));
  changed_ = false;
}

int64_t ExpertPool::stage(int64_t layer, int64_t expert, int64_t staging_slot) {
  assert(staging_slot >= 0 && staging_slot < n_staging_);
  return copy_into(layer, expert, staging_ + size_t(staging_slot) * staging_bytes_);
}

FfnWeights ExpertPool::staged(const Exec& exec, int64_t layer, std::span<const int32_t> experts, int64_t first) {
  assert(first + int64_t(experts.size()) <= n_staging_);
  std::vector<int32_t> table(size_t(n_experts_), -1);
  for (size_t i = 0; i < experts.size(); ++i) table[size_t(experts[i])] = int32_t(first) + int32_t(i);
  int32_t* const to = staging_tables_ + first * n_experts_;
  ops_.move(exec, table.data(), to, table.size() * sizeof(int32_t));
  return view(layer, staging_, staging_bytes_, n_staging_, to);
}

}  // namespace hearth
