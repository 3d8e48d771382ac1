// Are the weights of a file what was written, and numbers at all?
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "quant/gguf.h"

namespace hearth {

struct VerifyOptions {
  // Runs body(0) ... body(n - 1) in any order, perhaps at the same time. Empty: one after the other.
  std::function<void(size_t n, const std::function<void(size_t)>& body)> parallel_for;
  // Bytes done, of all bytes. Never called twice at the same time.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

struct VerifyReport {
  bool has_checksums = false;         // the file holds hearth.checksums; without them only non-finite weights are found
  std::vector<std::string> problems;  // one line each, naming file and tensor; in file order
};

// Reads every tensor once: compares its XXH3-64 with hearth.checksums, and decodes it row by row, looking for weights
// that are not finite. Throws Error(format) when hearth.checksums is of another type.
VerifyReport verify(const GgufFile& file, const VerifyOptions& options = {});

}  // namespace hearth
