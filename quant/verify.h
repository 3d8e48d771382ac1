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

struct VerifyReport {
  bool has_checksums = false;         // hearth.checksums were compared; else only non-finite weights are found
  std::vector<std::string> problems;  // one line each, naming file and tensor; in file order
};

// Reads every tensor once: compares its XXH3-64 with hearth.checksums, and looks row by row for weights that are not
// finite; of a tensor the first one is told. Throws Error(format) when hearth.checksums is of another type.
VerifyReport verify(const GgufFile& file, const VerifyOptions& options = {});

}  // namespace hearth
