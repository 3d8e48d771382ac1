// The slabs of tensors on their way through the converter: several threads read, encode and write them, whichever is
// next, and one takes them in the tensors' order. While the last slabs of a tensor are made, the first of the next one
// are begun, and the disk reads ahead of both. Whoever makes a slab waits for its sources, where they are still to
// come; all slabs before it are made meanwhile, taken out, and what they needed makes room.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "convert/row_maker.h"
#include "quant/gguf.h"

namespace hearth {

// Rows of a tensor that one thread makes at a time.
struct Slab {
  size_t tensor = 0;
  std::shared_ptr<const RowMaker> maker;
  int64_t first_row = 0, n_rows = 0;
  bool last = false;                  // of its tensor
  std::span<const std::byte> blocks;  // as written
};

// Walks over the slabs of some tensors of a file.
class SlabWalk {
 public:
  SlabWalk(const FileToMake& file, const std::vector<size_t>& tensors) : file_(&file), tensors_(&tensors) {}
  bool next(Slab& slab);  // false: there are no more

 private:
  const FileToMake* file_;
  const std::vector<size_t>* tensors_;
  size_t at_ = 0;                          // in `tensors`
  int64_t row_ = 0;                        // of it, the first that is not in a slab yet
  std::shared_ptr<const RowMaker> maker_;  // of it
};

class SlabPipeline {
 public:
  // `tensors` of the file, in the order in which they are made. All that is given must outlive the pipeline.
  SlabPipeline(const FileToMake& file, const std::vector<size_t>& tensors, int n_threads, GgufWriter& writer);
  ~SlabPipeline();  // gives up what is not made yet

  // The next slab, which is valid until the next call; null at the end. While it waits, `waiting` is called now and
  // then. Throws what the slab's maker or the writer threw: of several failures always that of the earliest slab.
  const Slab* next(const std::function<void()>& waiting);

  // The most memory that making this file takes, mapped pages of the sources included.
  static uint64_t memory_bytes(const FileToMake& file, int n_threads);

 private:
  struct Slot {
    Slab slab;
    std::vector<std::byte> blocks;
    std::exception_ptr error;
    bool made = false;
  };
  void work();
  Slot* begin_slab(Slab& ahead);
  void make(Slot& slot, RowMaker::Scratch& scratch);

  const FileToMake& file_;
  GgufWriter& writer_;
  std::mutex mutex_;                     // guards all below
  std::condition_variable free_, made_;  // a slot is free; the slot that is waited for is made
  SlabWalk walk_, walk_ahead_;
  std::vector<Slot> slots_;           // a ring
  uint64_t n_begun_ = 0, n_out_ = 0;  // slabs that threads have begun; that were taken out again
  bool holding_ = false;              // the slab last taken out is still looked at
  bool all_begun_ = false, stop_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace hearth
