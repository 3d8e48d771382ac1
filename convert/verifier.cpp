#include "convert/verifier.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>
#include <vector>

#include "quant/checksum.h"
#include "quant/error.h"

namespace hearth {
namespace {

// As many tensors are read at once. A disk is faster when it is asked for several things; one thread sums up 10 GB/s.
constexpr size_t kReaders = 4;
constexpr auto kLookAround = std::chrono::milliseconds(100);

FinishedTensors take(FinishedTensors& from, size_t most) {
  FinishedTensors taken;
  while (!from.empty() && taken.size() < most) taken.insert(from.extract(from.begin()));
  return taken;
}

}  // namespace

Verifier::Verifier(const std::vector<GgufTensorPlan>& tensors, GgufWriter& writer, Journal& journal, Recorded recorded)
    : tensors_(tensors),
      writer_(writer),
      journal_(journal),
      on_record_(std::move(recorded)),
      disk_(writer.partial_path()),
      recorded_(journal.finished()) {
  for (const auto& [tensor, finished] : journal.finished()) bytes_recorded_ += tensors[tensor].bytes();
  thread_ = std::jthread([this] { work(); });
}

Verifier::~Verifier() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  work_.notify_one();
}

void Verifier::add(size_t tensor, const FinishedTensor& finished) {
  const std::lock_guard lock(mutex_);
  new_[tensor] = finished;
  work_.notify_one();
}

void Verifier::finish(const std::function<void()>& waiting) {
  std::unique_lock lock(mutex_);
  while (!idle_.wait_for(lock, kLookAround, [&] { return error_ || (!busy_ && new_.empty() && recorded_.empty()); })) {
    lock.unlock();
    waiting();
    lock.lock();
  }
  if (error_) std::rethrow_exception(error_);
}

void Verifier::check() {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

// All that was finished meanwhile goes to the disk together. What was on record before has to wait for that: the sooner
// something new is on record, the less is lost.
void Verifier::work() {
  std::unique_lock lock(mutex_);
  while (!error_) {
    work_.wait(lock, [&] { return stop_ || !new_.empty() || !recorded_.empty(); });
    if (stop_) return;
    const bool on_record = new_.empty();
    const FinishedTensors some = on_record ? take(recorded_, kReaders) : std::exchange(new_, {});
    busy_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      secure(some, on_record);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    busy_ = false;
    error_ = error;
    idle_.notify_one();
  }
}

void Verifier::secure(const FinishedTensors& some, bool on_record) {
  if (!on_record) writer_.sync();
  read_back(some, on_record);
  if (on_record || stop_) return;
  journal_.add(some);
  writer_.leave_partial(true);
  for (const auto& [tensor, finished] : some) {
    bytes_recorded_ += tensors_[tensor].bytes();
    on_record_(tensor);
  }
}

void Verifier::read_back(const FinishedTensors& some, bool on_record) {
  const std::vector<FinishedTensors::value_type> list(some.begin(), some.end());
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr error;
  const auto read = [&] {
    try {
      for (size_t i = next++; i < list.size(); i = next++) compare(list[i].first, list[i].second, on_record);
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    while (others.size() + 1 < std::min(kReaders, list.size())) others.emplace_back(read);
    read();
  }
  if (error) std::rethrow_exception(error);
}

void Verifier::compare(size_t tensor, const FinishedTensor& finished, bool on_record) {
  const GgufTensorPlan& plan = tensors_[tensor];
  Checksum sum;
  disk_.read(writer_.tensor_offset(tensor), plan.bytes(), [&](std::span<const std::byte> piece) {
    sum.add(piece);
    bytes_verified_ += piece.size();
    return !stop_;
  });
  if (stop_ || sum.value() == finished.checksum) return;
  if (on_record) {
    const std::lock_guard lock(mutex_);  // several may be found at once
    journal_.take_back(tensor);
  }
  fail(ErrorKind::file, "{}: tensor {}: expected checksum {}, read back {}: the disk did not keep what was written",
       writer_.partial_path(), plan.name, checksum_text(finished.checksum), checksum_text(sum.value()));
}

}  // namespace hearth
