// Makes sure of finished tensors while others are still made: brings them to the disk, reads them back from there,
// compares their checksums, and records them in the journal.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "convert/journal.h"
#include "quant/disk_reader.h"
#include "quant/gguf.h"

namespace hearth {

class Verifier {
 public:
  // Reads back what the journal holds already, too, when there is nothing new to do. `recorded` is told of each tensor
  // that comes on record, by the verifier's thread. All must outlive the verifier.
  using Recorded = std::function<void(size_t tensor)>;
  Verifier(const std::vector<GgufTensorPlan>& tensors, GgufWriter& writer, Journal& journal, Recorded recorded);
  ~Verifier();  // gives up what is not verified yet

  // A tensor whose bytes have all been given to the writer.
  void add(size_t tensor, const FinishedTensor& finished);
  // Until all is verified and on record; `waiting` is called now and then. Throws what `check` throws.
  void finish(const std::function<void()>& waiting);
  // Throws what went wrong so far. Error(file): the disk did not keep what was written; the tensor is not on record.
  void check();

  uint64_t bytes_verified() const { return bytes_verified_; }  // read back, the journal's included
  uint64_t bytes_recorded() const { return bytes_recorded_; }  // of what is in the journal

 private:
  void work();
  void secure(const FinishedTensors& some, bool on_record);
  void read_back(const FinishedTensors& some, bool on_record);
  void compare(size_t tensor, const FinishedTensor& finished, bool on_record);

  const std::vector<GgufTensorPlan>& tensors_;
  GgufWriter& writer_;
  Journal& journal_;
  Recorded on_record_;
  DiskReader disk_;
  std::atomic<uint64_t> bytes_verified_ = 0, bytes_recorded_ = 0;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;                     // guards the rest
  std::condition_variable work_, idle_;  // there is something to do; there is nothing
  FinishedTensors new_, recorded_;       // to be verified
  bool busy_ = false;
  std::exception_ptr error_;
  std::jthread thread_;
};

}  // namespace hearth
