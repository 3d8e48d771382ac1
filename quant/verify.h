// Are the weights of a file what was written, and numbers at all?
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "quant/gguf.h"

namespace hearth {

struct VerifyOptions {
  bool checksums = true;  // false: only whether all weights are finite, which is as fast as the file can be read
  // Runs body(0) ... body(n - 1) in any order, perhaps at the same time. Empty: one after the other.
  std::function<void(size_t n, const std::function<void(size_t)>& body)> parallel_for;
  // Bytes done, of all bytes. Never called twice at the same time.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

// Other programs copy, sort, requantize, merge and rename tensors, and lose the appendix. None of that counts as
// damage.
struct VerifyReport {
  bool has_checksums = false;         // the file's checksums were compared; else only non-finite weights are found
  std::vector<std::string> problems;  // damage: one line each, naming file and tensor: checksums, then weights

  // Tensors of the file. With checksums, the first five are all of them.
  int64_t n_matching = 0;      // as they were written, wherever in the file and under whatever name
  int64_t n_other_format = 0;  // in another format now: not to be compared
  int64_t n_unknown = 0;       // of no checksum: added, or in an older file perhaps changed
  int64_t n_damaged = 0;       // of the format that they were written in, and not of its bytes
  int64_t n_not_computed = 0;  // of all: in formats of which only the bytes were looked at
  int64_t n_missing = 0;       // checksums of tensors that are not in the file
  bool reordered = false;      // in another order, or under other names

  bool rewritten() const { return n_other_format + n_unknown + n_missing > 0 || reordered; }
};

// Reads every tensor once: compares its XXH3-64 with the one in the file's metadata, and looks row by row for weights
// that are not finite; of a tensor the first one is told. A checksum is found by the tensor's name and counts if the
// format is still the same; in older files, which have no names beside their checksums, by its place, or where the
// places do not fit by its value. Throws Error(format) when a key of checksums is of another type.
VerifyReport verify(const GgufFile& file, const VerifyOptions& options = {});

}  // namespace hearth
