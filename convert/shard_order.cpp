#include "convert/shard_order.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace hearth {

ShardOrder order_by_shards(const std::vector<std::vector<size_t>>& needs) {
  constexpr auto last_of = [](const std::vector<size_t>& shards) {
    return shards.empty() ? 0 : *std::ranges::max_element(shards) + 1;
  };
  ShardOrder order;
  order.tensors.resize(needs.size());
  std::iota(order.tensors.begin(), order.tensors.end(), 0);
  std::ranges::stable_sort(order.tensors, {}, [&](size_t tensor) { return last_of(needs[tensor]); });

  std::map<size_t, size_t> until;  // of each shard: the last one of any of its tensors
  for (const std::vector<size_t>& shards : needs)
    for (const size_t shard : shards) until[shard] = std::max(until[shard], last_of(shards) - 1);
  std::map<size_t, size_t> n_until;
  for (const auto& [shard, last] : until) ++n_until[last];
  size_t n_there = 0;
  for (const auto& [shard, last] : until) {
    order.shards.push_back(shard);
    order.least = std::max(order.least, ++n_there);
    n_there -= n_until[shard];
  }
  return order;
}

}  // namespace hearth
