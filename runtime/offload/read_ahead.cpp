#include "runtime/offload/read_ahead.h"

#include <vector>

namespace hearth {

void ReadAhead::matrix(const Weight& w, int64_t i) const {
  const std::byte* const first = w.row(i, 0);
  for (const auto& part : file_.parts()) {
    const auto bytes = part->bytes();
    if (first < bytes.data() || first >= bytes.data() + bytes.size()) continue;
    part->will_need({first, size_t(w.n) * w.row_bytes});
    return;
  }
}

void ReadAhead::experts(const FfnWeights& experts, std::span<const int32_t> ids) const {
  if (!wanted_) return;
  std::vector<bool> seen(size_t(experts.n_experts()));
  for (const int32_t id : ids) {
    const int32_t at = experts.slots ? experts.slots[id] : id;
    if (at < 0 || seen[size_t(id)]) continue;
    seen[size_t(id)] = true;
    for (const Weight* w : {&experts.gate, &experts.up, &experts.down}) matrix(*w, at);
  }
}

}  // namespace hearth
