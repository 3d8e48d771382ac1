#include "convert/arriving_shards.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>

#include "convert/shard_order.h"
#include "quant/error.h"

namespace hearth {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(50);  // between looks at whether to give up

// Every file that rows of a weight are read from.
void add_files(const WeightSource& source, std::set<const MappedFile*>& files) {
  const auto add = [&](const SourceTensor* tensor) {
    if (tensor && tensor->file) files.insert(tensor->file);
  };
  add(source.weight);
  add(source.scale);
  if (!source.coded) return;
  for (const SourceTensor* part :
       {source.coded->codes, source.coded->scales, source.coded->zeros, source.coded->group_index}) {
    add(part);
  }
}

}  // namespace

ArrivingShards::ArrivingShards(ShardSource& source, const Checkpoint& checkpoint,
                               const std::vector<OutputTensor>& tensors)
    : source_(source) {
  for (const Shard& shard : checkpoint.shards())
    identity_ += fmt::format("{} {} {}\n", shard.name, shard.size, shard.checksum);
  std::map<const MappedFile*, size_t> places;
  for (const auto& file : checkpoint.files()) {  // which the checkpoint has by their names
    if (file->is_there()) continue;
    places[file.get()] = awaited_.size();
    awaited_.push_back({std::filesystem::path(file->path()).filename().string(), file.get()});
  }
  for (const OutputTensor& tensor : tensors) {
    std::set<const MappedFile*> files;
    for (const WeightSource& of_tensor : tensor.sources) add_files(of_tensor, files);
    std::vector<size_t> shards;
    for (const MappedFile* file : files) {
      if (const auto place = places.find(file); place != places.end()) shards.push_back(place->second);
    }
    std::ranges::sort(shards);
    needs_.push_back(std::move(shards));
  }
}

ShardPlan ArrivingShards::plan(const std::string& output, uint64_t file_bytes) const {
  const ShardOrder order = order_by_shards(needs_);
  ShardPlan plan{output, file_bytes, {}, order.least};
  for (const size_t shard : order.shards) plan.order.push_back(awaited_[shard].name);
  return plan;
}

std::vector<size_t> ArrivingShards::begin(const std::vector<size_t>& tensors) {
  std::vector<std::vector<size_t>> needs;
  for (const size_t tensor : tensors) {
    needs.push_back(needs_[tensor]);
    for (const size_t shard : needs_[tensor]) ++awaited_[shard].n_tensors;
  }
  const ShardOrder order = order_by_shards(needs);
  std::vector<std::string> names;
  for (const size_t shard : order.shards) names.push_back(awaited_[shard].name);
  source_.begin(names);
  std::vector<size_t> in_order;
  for (const size_t place : order.tensors) in_order.push_back(tensors[place]);
  return in_order;
}

// Whoever comes first maps it. What is at fault is the hub or the disk, not the weights that are made already.
bool ArrivingShards::wait_for(size_t tensor, const std::function<bool()>& give_up) {
  for (const size_t shard : needs_[tensor]) {
    std::unique_lock lock(mutex_);
    Awaited& awaited = awaited_[shard];
    while (!awaited.file->is_there()) {
      lock.unlock();
      if (give_up()) return false;
      const std::string path = source_.wait_for(awaited.name, kPatience);
      lock.lock();
      if (path.empty() || awaited.file->is_there()) continue;
      try {
        awaited.file->arrive(path);
      } catch (const Error& error) {
        fail(ErrorKind::resource, "{}", error.what());
      }
    }
  }
  return true;
}

void ArrivingShards::recorded(size_t tensor) {
  for (const size_t shard : needs_[tensor]) {
    const std::lock_guard lock(mutex_);
    Awaited& awaited = awaited_[shard];
    if (--awaited.n_tensors > 0) continue;
    awaited.file->leave();
    source_.done(awaited.name);
  }
}

std::string ArrivingShards::kept() const {
  return "what was fetched is kept in " + source_.folder();
}

}  // namespace hearth
