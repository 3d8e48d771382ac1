#include "convert/slab_pipeline.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <system_error>

#include "quant/error.h"

namespace hearth {
namespace {

// Weights that a thread takes at a time: 1 MiB of floats, which stay in its cache between reading and encoding.
constexpr int64_t kSlabWeights = 1 << 18;
// Slabs that may wait for their turn to be taken out, besides those that threads make: two for each thread, so that
// nobody has to wait for a thread or a disk that was held up. Beyond 64 threads that is rare enough.
constexpr int kMostWaiting = 128;
constexpr auto kPatience = std::chrono::milliseconds(100);

int64_t slab_rows(const GgufTensorPlan& tensor, const RowMaker& maker) {
  const int64_t unit = maker.unit();
  return std::max<int64_t>(1, kSlabWeights / (tensor.shape.cols() * unit)) * unit;
}

size_t n_slots(int n_threads) {
  return size_t(n_threads + std::min(2 * n_threads, kMostWaiting));
}

}  // namespace

bool SlabWalk::next(Slab& slab) {
  if (at_ == tensors_->size()) return false;
  const size_t index = (*tensors_)[at_];
  const GgufTensorPlan& tensor = file_->tensors[index];
  if (!maker_) maker_ = file_->rows(index);
  const int64_t n = std::min(slab_rows(tensor, *maker_), tensor.shape.rows() - row_);
  slab = {index, maker_, row_, n, row_ + n == tensor.shape.rows(), {}};
  row_ += n;
  if (slab.last) {
    ++at_;
    row_ = 0;
    maker_.reset();
  }
  return true;
}

SlabPipeline::SlabPipeline(const FileToMake& file, const std::vector<size_t>& tensors, int n_threads,
                           GgufWriter& writer)
    : file_(file), writer_(writer), walk_(file, tensors), walk_ahead_(file, tensors), slots_(n_slots(n_threads)) {
  Slab ahead;
  for (int i = 0; i < 2 * n_threads && walk_ahead_.next(ahead); ++i)
    ahead.maker->will_need(ahead.first_row, ahead.n_rows);
  for (int i = 0; i < n_threads; ++i) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      require(i > 0, ErrorKind::resource, "cannot start a thread");  // fewer than were asked for will do
      break;
    }
  }
}

SlabPipeline::~SlabPipeline() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  free_.notify_all();
}

void SlabPipeline::work() {
  RowMaker::Scratch scratch;
  Slab ahead;
  while (Slot* slot = begin_slab(ahead)) {
    try {
      if (ahead.maker) ahead.maker->will_need(ahead.first_row, ahead.n_rows);
      if (!slot->error) make(*slot, scratch);
    } catch (...) {
      slot->error = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    slot->made = true;
    made_.notify_one();
  }
}

// The slot of the next slab, and a slab further on that the disk should begin with; null when there is no more to do.
SlabPipeline::Slot* SlabPipeline::begin_slab(Slab& ahead) {
  std::unique_lock lock(mutex_);
  free_.wait(lock, [&] { return stop_ || all_begun_ || n_begun_ - n_out_ < slots_.size(); });
  if (stop_ || all_begun_) return nullptr;
  Slot& slot = slots_[n_begun_ % slots_.size()];
  ahead = {};
  try {
    all_begun_ = !walk_.next(slot.slab);
    walk_ahead_.next(ahead);
  } catch (...) {
    slot.error = std::current_exception();
  }
  if (all_begun_) {
    free_.notify_all();
    made_.notify_one();
    return nullptr;
  }
  ++n_begun_;
  return &slot;
}

void SlabPipeline::make(Slot& slot, RowMaker::Scratch& scratch) {
  Slab& slab = slot.slab;
  const auto give_up = [this] {
    const std::lock_guard lock(mutex_);
    return stop_;
  };
  if (file_.arrivals && !file_.arrivals->wait_for(slab.tensor, give_up)) return;  // nobody takes it out any more
  const GgufTensorPlan& tensor = file_.tensors[slab.tensor];
  const size_t row_bytes = tensor.format->bytes(tensor.shape.cols());
  slot.blocks.resize(size_t(slab.n_rows) * row_bytes);
  slab.maker->encode(slab.first_row, slab.n_rows, scratch, slot.blocks.data());
  slab.maker->dont_need(slab.first_row, slab.n_rows);
  writer_.write(slab.tensor, size_t(slab.first_row) * row_bytes, slot.blocks);
  slab.blocks = slot.blocks;
}

const Slab* SlabPipeline::next(const std::function<void()>& waiting) {
  std::unique_lock lock(mutex_);
  if (holding_) {
    Slot& before = slots_[n_out_++ % slots_.size()];
    before.slab = {};
    before.made = false;
    holding_ = false;
    free_.notify_one();
  }
  const Slot& slot = slots_[n_out_ % slots_.size()];
  const auto ready = [&] { return (n_out_ < n_begun_ && slot.made) || (n_out_ == n_begun_ && all_begun_); };
  while (!made_.wait_for(lock, kPatience, ready)) {
    lock.unlock();
    waiting();
    lock.lock();
  }
  if (n_out_ == n_begun_) return nullptr;
  if (slot.error) std::rethrow_exception(slot.error);
  holding_ = true;
  return &slot.slab;
}

uint64_t SlabPipeline::memory_bytes(const FileToMake& file, int n_threads) {
  std::vector<size_t> all(file.tensors.size());
  std::iota(all.begin(), all.end(), 0);
  uint64_t blocks = 0, scratch = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::vector<size_t> one = {i};
    Slab slab;
    SlabWalk(file, one).next(slab);  // the first one is the largest
    const GgufTensorPlan& tensor = file.tensors[i];
    const uint64_t cols = uint64_t(tensor.shape.cols()), unit = uint64_t(slab.maker->unit());
    const uint64_t source = slab.maker->source_bytes(slab.first_row, slab.n_rows);
    blocks = std::max(blocks, uint64_t(slab.n_rows) * tensor.format->bytes(tensor.shape.cols()));
    // A unit of rows as floats, and of its source again; the source's pages and a copy of them.
    scratch = std::max(scratch, cols * unit * (2 * sizeof(float)) + 2 * source);
  }
  return n_slots(n_threads) * blocks + uint64_t(n_threads) * scratch;
}

}  // namespace hearth
