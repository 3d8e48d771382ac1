// What make_file wants to know of a file: its plan, and who makes the rows of its tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "quant/gguf.h"

namespace hearth {

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
  // No row is needed any more. Throws Error(file).
  virtual void release() const = 0;
};

// Sources that come while the file is made, and go when they have been of use.
class Arrivals {
 public:
  virtual ~Arrivals() = default;
  // These tensors are to be made: the order in which what they need will come. Called once, before the others.
  virtual std::vector<size_t> begin(const std::vector<size_t>& tensors) = 0;
  // Until all is there that the tensor needs; false: `give_up`, asked a few times a second, said so. From any thread.
  // Throws Error(resource) where it will never come.
  virtual bool wait_for(size_t tensor, const std::function<bool()>& give_up) = 0;
  // The tensor is on record, and will not be made again. Throws Error(file).
  virtual void recorded(size_t tensor) = 0;
  // What of it stays for a later run, for a person to read; and that there will be none: nothing stays.
  virtual std::string kept() const = 0;
  virtual void drop() = 0;
};

struct FileToMake {
  std::string path;
  GgufMetadata metadata;  // with as many checksums as there are tensors, which are filled in
  std::vector<GgufTensorPlan> tensors;
  // What determines the weights, besides: files that they are in, and settings of any form.
  std::vector<const MappedFile*> sources;
  std::string settings;
  std::function<std::unique_ptr<RowMaker>(size_t tensor)> rows;
  Arrivals* arrivals = nullptr;  // null: all sources are there
};

}  // namespace hearth
