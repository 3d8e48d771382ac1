// Weights on their way into shards: several threads read, encode and write slabs of rows, whichever are next; one that
// waits for them finishes the files.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "convert/export/shard_file.h"
#include "convert/export/shard_plan.h"

namespace hearth {

struct ShardsToMake {
  std::string folder;
  const std::vector<ExportWeight>* weights;
  const std::vector<const WeightEncoder*>* encoders;
  std::vector<const ExportShard*> shards;
};

// Rows of a weight that one thread makes at a time.
struct ShardSlab {
  uint64_t number = 0;  // from the first on
  const ExportShard* shard = nullptr;
  const PlacedWeight* placed = nullptr;
  const ExportWeight* weight = nullptr;
  const WeightEncoder* encoder = nullptr;
  int64_t first_row = 0, n_rows = 0;
  bool begins_shard = false;
  bool ends_weight = false;
};

class ShardWalk {
 public:
  explicit ShardWalk(const ShardsToMake& make) : make_(&make) {}
  bool next(ShardSlab& slab);  // false: there are no more

 private:
  const ShardsToMake* make_;
  uint64_t n_ = 0;
  size_t shard_ = 0, weight_ = 0;  // the next slab's
  int64_t row_ = 0;
};

class ShardPipeline {
 public:
  // All that is given must outlive it. Fewer threads than asked for are begun where more would take more than 2 GiB.
  ShardPipeline(const ShardsToMake& make, int n_threads, ExportLoss& loss);
  ~ShardPipeline();  // gives up what is not made yet

  // A file all of whose bytes have arrived, to be finished, mostly in their order; null: there are no more. While it
  // waits, `waiting` is called now and then. Throws what went wrong with the earliest slab.
  std::unique_ptr<ShardFile> next(const std::function<void()>& waiting);

  // Of all files so far, in bytes of tensors; and the weight last begun.
  uint64_t bytes_done();
  std::string weight();

  // The most memory that n threads take, beside mapped pages.
  static uint64_t memory_bytes(const ShardsToMake& make, int n_threads);

 private:
  void work();
  bool begin_slab(ShardSlab& slab, ShardFile*& file, ShardSlab& ahead);
  void make(const ShardSlab& slab, ShardFile& file, ExportScratch& scratch);
  void finished(const ShardFile& file);
  void keep_error(uint64_t slab);

  const ShardsToMake& make_;
  ExportLoss& loss_;
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  ShardWalk walk_, walk_ahead_;
  std::string weight_;  // last begun
  uint64_t bytes_done_ = 0;
  std::deque<std::unique_ptr<ShardFile>> open_;  // not all of their bytes have arrived
  std::deque<std::unique_ptr<ShardFile>> whole_;
  size_t n_out_ = 0;  // files that `next` returned
  std::exception_ptr error_;
  uint64_t error_slab_ = 0;
  int n_working_ = 0;
  bool stop_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace hearth
