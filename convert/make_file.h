// Makes a GGUF file whose tensors are planned: their rows are read, encoded and written in slabs by all threads, tensor
// after tensor; then the file is read back, its checksums are compared, and it gets its name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "quant/gguf.h"

namespace hearth {

struct ConvertProgress {
  std::string tensor;                        // the tensor being made; "verifying" at the end
  uint64_t bytes_done = 0, bytes_total = 0;  // of the output file's tensor data
  uint64_t source_bytes = 0;                 // read from the source so far
  uint64_t bytes_verified = 0;               // read back from the written file so far
};

// Makes any rows of one tensor of the file, in any order, from several threads.
class RowMaker {
 public:
  virtual ~RowMaker() = default;

  // What a thread keeps between calls.
  struct Scratch {
    std::vector<float> rows, source;
    std::vector<std::byte> aligned;
  };

  // Rows first .. first + n must start and end at a multiple of this.
  virtual int64_t unit() const { return 1; }
  // -> blocks [n, row bytes]. Throws Error(format) for NaN or infinity, naming the source tensor and where in it.
  virtual void encode(int64_t first, int64_t n, Scratch& scratch, std::byte* blocks) const = 0;
  // The number of weights so far that were too large for F16 and became its largest number.
  virtual int64_t n_clamped() const = 0;

  // The source's bytes that these rows are made from: their number, and hints to the kernel about them.
  virtual uint64_t source_bytes(int64_t first, int64_t n) const = 0;
  virtual void will_need(int64_t first, int64_t n) const = 0;
  virtual void dont_need(int64_t first, int64_t n) const = 0;
};

struct FileToMake {
  std::string path;
  GgufMetadata metadata;  // with as many checksums as there are tensors, which are filled in
  std::vector<GgufTensorPlan> tensors;
  std::function<std::unique_ptr<RowMaker>(size_t tensor)> rows;
};

// Returns notes: what the user should know of the weights. `progress` is called now and then from one thread; when it
// returns false, Error(interrupted) is thrown and no file is left. Throws Error.
std::vector<std::string> make_file(const FileToMake& file, int n_threads,
                                   const std::function<bool(const ConvertProgress&)>& progress);

}  // namespace hearth
