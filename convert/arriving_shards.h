// A checkpoint's shards that come while a file is made of them: mapped when they are there, let go of when every tensor
// that needs them is on record.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "convert/checkpoint.h"
#include "convert/name_map.h"
#include "convert/row_maker.h"
#include "convert/shard_source.h"

namespace hearth {

class ArrivingShards : public Arrivals {
 public:
  // `tensors`: of the file. The source and the checkpoint's files must outlive it.
  ArrivingShards(ShardSource& source, const Checkpoint& checkpoint, const std::vector<OutputTensor>& tensors);

  // For all tensors.
  ShardPlan plan(const std::string& output, uint64_t file_bytes) const;
  // The checksums of all shards, those that need not come included: what determines the weights.
  const std::string& identity() const { return identity_; }

  std::vector<size_t> begin(const std::vector<size_t>& tensors) override;
  bool wait_for(size_t tensor, const std::function<bool()>& give_up) override;
  void recorded(size_t tensor) override;
  std::string kept() const override;
  void drop() override { source_.drop(); }

 private:
  struct Awaited {
    std::string name;
    MappedFile* file;
    size_t n_tensors = 0;  // that are not on record yet
  };

  ShardSource& source_;
  std::string identity_;
  std::vector<std::vector<size_t>> needs_;  // of each tensor: places in `awaited_`
  std::mutex mutex_;                        // guards the rest: what is mapped, what is counted
  std::vector<Awaited> awaited_;            // in the order of their names
};

}  // namespace hearth
