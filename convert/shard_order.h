// In which order tensors are made of shards that come one after the other.
//
// Shards come in the order of their names, each once, and a tensor is made as soon as the last of its shards is there.
// Then no shard lies on the disk longer than that order makes it: from its coming until the last shard of any of its
// tensors has come. Checkpoints as they are published keep a layer in neighbouring shards; one that has its tensors in
// the order of the alphabet (layers 1, 10, 11, ..., 2) takes no more room.
#pragma once

#include <cstddef>
#include <vector>

namespace hearth {

struct ShardOrder {
  std::vector<size_t> tensors;  // as they are made: places in what was given
  std::vector<size_t> shards;   // as they come: those that any tensor needs
  size_t least = 0;             // the most shards that are needed at the same time
};

// `needs`: of each tensor, the numbers of its shards. Tensors that need none come first; of those that wait for the
// same shard, the earlier one.
ShardOrder order_by_shards(const std::vector<std::vector<size_t>>& needs);

}  // namespace hearth
