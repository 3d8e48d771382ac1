#include "convert/export/shard_pipeline.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <system_error>

#include "quant/error.h"

namespace hearth {
namespace {

// Weights that a thread takes at a time: enough that a system call for them is nothing, few enough for its cache.
constexpr int64_t kWeightsOfSlab = 1 << 19;
constexpr uint64_t kMemory = uint64_t(2) << 30;
constexpr auto kLookAgain = std::chrono::milliseconds(100);

int64_t rows_of_slab(const ExportWeight& weight, const WeightEncoder& encoder) {
  const int64_t unit = std::lcm(weight.rows->unit(), encoder.unit());
  return std::max<int64_t>(1, kWeightsOfSlab / (weight.shape.cols() * unit)) * unit;
}

// Floats, decoded again to measure the error; blocks of the source, of F32 at most; what is written, F32 at most.
uint64_t memory_of_slab(const ExportWeight& weight, const WeightEncoder& encoder) {
  const int64_t rows = std::min(rows_of_slab(weight, encoder), weight.shape.rows());
  return uint64_t(rows * weight.shape.cols()) * 4 * sizeof(float);
}

}  // namespace

uint64_t ShardPipeline::memory_bytes(const ShardsToMake& make, int n_threads) {
  uint64_t largest = 0;
  for (size_t i = 0; i < make.weights->size(); ++i)
    largest = std::max(largest, memory_of_slab((*make.weights)[i], *(*make.encoders)[i]));
  const uint64_t n = std::clamp<uint64_t>(kMemory / std::max<uint64_t>(largest, 1), 1, uint64_t(n_threads));
  return n * largest;
}

bool ShardWalk::next(ShardSlab& slab) {
  if (shard_ == make_->shards.size()) return false;
  const ExportShard& shard = *make_->shards[shard_];
  const PlacedWeight& placed = shard.weights[weight_];
  const ExportWeight& weight = (*make_->weights)[placed.weight];
  const WeightEncoder& encoder = *(*make_->encoders)[placed.weight];
  const int64_t n = std::min(rows_of_slab(weight, encoder), weight.shape.rows() - row_);
  slab = {
      n_++, &shard, &placed, &weight, &encoder, row_, n, weight_ == 0 && row_ == 0, row_ + n == weight.shape.rows()};
  row_ += n;
  if (!slab.ends_weight) return true;
  row_ = 0;
  if (++weight_ == shard.weights.size()) {
    weight_ = 0;
    ++shard_;
  }
  return true;
}

ShardPipeline::ShardPipeline(const ShardsToMake& make, int n_threads, ExportLoss& loss)
    : make_(make), loss_(loss), walk_(make), walk_ahead_(make) {
  const auto n = std::max(1, int(memory_bytes(make, n_threads) / std::max<uint64_t>(memory_bytes(make, 1), 1)));
  ShardSlab ahead;
  for (int i = 0; i < 2 * n && walk_ahead_.next(ahead); ++i)
    ahead.weight->rows->will_need(ahead.first_row, ahead.n_rows);
  const std::lock_guard lock(mutex_);
  for (int i = 0; i < n; ++i) {
    try {
      threads_.emplace_back([this] { work(); });
      ++n_working_;
    } catch (const std::system_error&) {
      require(i > 0, ErrorKind::resource, "cannot start a thread");  // fewer than were asked for will do
      break;
    }
  }
}

ShardPipeline::~ShardPipeline() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  threads_.clear();  // which use what is destroyed next
}

// The next slab, its file, and a slab further on that the disk should begin with; false: there are none, or there is an
// error.
bool ShardPipeline::begin_slab(ShardSlab& slab, ShardFile*& file, ShardSlab& ahead) {
  const std::lock_guard lock(mutex_);
  if (stop_ || error_ || !walk_.next(slab)) return false;
  ahead = {};
  walk_ahead_.next(ahead);
  weight_ = slab.weight->name;
  if (slab.begins_shard) {
    try {
      open_.push_back(std::make_unique<ShardFile>(make_.folder, *slab.shard));
    } catch (...) {
      error_ = std::current_exception();
      error_slab_ = slab.number;
      return false;
    }
  }
  file = open_.back().get();
  return true;
}

void ShardPipeline::work() {
  ExportScratch scratch;
  ShardSlab slab, ahead;
  ShardFile* file = nullptr;
  while (begin_slab(slab, file, ahead)) {
    try {
      if (ahead.weight) ahead.weight->rows->will_need(ahead.first_row, ahead.n_rows);
      make(slab, *file, scratch);
    } catch (...) {
      keep_error(slab.number);
    }
  }
  const std::lock_guard lock(mutex_);
  --n_working_;
  changed_.notify_all();
}

void ShardPipeline::make(const ShardSlab& slab, ShardFile& file, ExportScratch& scratch) {
  std::vector<EncodedPiece> pieces;
  slab.encoder->encode(*slab.weight, slab.first_row, slab.n_rows, scratch, loss_, pieces);
  uint64_t bytes = 0;
  bool whole = false;
  for (const EncodedPiece& piece : pieces) {
    whole = file.write(slab.placed->offsets[piece.tensor] + piece.offset, piece.bytes) || whole;
    bytes += piece.bytes.size();
  }
  slab.weight->rows->dont_need(slab.first_row, slab.n_rows);
  if (slab.ends_weight) slab.weight->rows->release();
  {
    const std::lock_guard lock(mutex_);
    bytes_done_ += bytes;
  }
  if (whole) finished(file);
}

void ShardPipeline::finished(const ShardFile& file) {
  const std::lock_guard lock(mutex_);
  const auto it = std::ranges::find(open_, &file, &std::unique_ptr<ShardFile>::get);
  whole_.push_back(std::move(*it));
  open_.erase(it);
  changed_.notify_all();
}

void ShardPipeline::keep_error(uint64_t slab) {
  const std::lock_guard lock(mutex_);
  if (error_ && error_slab_ < slab) return;
  error_ = std::current_exception();
  error_slab_ = slab;
  changed_.notify_all();
}

std::unique_ptr<ShardFile> ShardPipeline::next(const std::function<void()>& waiting) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return !whole_.empty() || n_out_ == make_.shards.size() || (error_ && n_working_ == 0); };
  while (!changed_.wait_for(lock, kLookAgain, ready)) {
    lock.unlock();
    waiting();
    lock.lock();
  }
  if (!whole_.empty()) {  // also after an error: what is whole stays
    std::unique_ptr<ShardFile> file = std::move(whole_.front());
    whole_.pop_front();
    ++n_out_;
    return file;
  }
  if (n_out_ == make_.shards.size()) return nullptr;
  std::rethrow_exception(error_);
}

uint64_t ShardPipeline::bytes_done() {
  const std::lock_guard lock(mutex_);
  return bytes_done_;
}

std::string ShardPipeline::weight() {
  const std::lock_guard lock(mutex_);
  return weight_;
}

}  // namespace hearth
