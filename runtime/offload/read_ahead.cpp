#include "runtime/offload/read_ahead.h"

namespace hearth {

std::vector<std::span<const std::byte>> expert_bytes(const FfnWeights& experts, std::span<const int32_t> ids) {
  std::vector<std::span<const std::byte>> bytes;
  std::vector<bool> seen(size_t(experts.n_experts()));
  for (const int32_t id : ids) {
    const int32_t at = experts.slots ? experts.slots[id] : id;
    if (at < 0 || seen[size_t(id)]) continue;
    seen[size_t(id)] = true;
    for (const Weight* w : {&experts.gate, &experts.up, &experts.down}) {
      bytes.emplace_back(w->row(at, 0), size_t(w->n) * w->row_bytes);
    }
  }
  return bytes;
}

void ReadAhead::experts(const FfnWeights& experts, std::span<const int32_t> ids) const {
  if (!wanted_) return;
  for (const auto range : expert_bytes(experts, ids)) {
    if (const MappedFile* part = file_.part_of(range.data())) part->will_need(range);
  }
}

}  // namespace hearth
