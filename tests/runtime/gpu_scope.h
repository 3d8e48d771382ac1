// The emulated GPU in tests of whole models: its settings for one test, its memory, models that fail on it.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "runtime/model.h"
#include "tests/emulation/settings.h"

namespace hearth::test {

inline const Ops& gpu() {
  REQUIRE_MESSAGE(open_gpu().ops, open_gpu().why_not);
  return *open_gpu().ops;
}

// The GPU's settings of one test; at its end the device is well again, and what failed is forgotten.
struct GpuScope {
  emulation::Settings before = emulation::settings();
  ~GpuScope() {
    emulation::settings() = before;
    mend();
  }
  static void mend() {
    emulation::reset();
    gpu().finish({.stream = gpu().stream});
  }
};

inline size_t gpu_bytes_taken() {
  size_t total = 0, free = 0;
  gpu().memory(&total, &free);
  return total - free;
}

// Loads a model and runs some tokens, many and then one by one; what went wrong, empty: nothing.
inline std::string failure_of(const GgufFile& file, const ModelOptions& options) {
  try {
    Model model(GgufFile::open(file.path()), options);
    KvCache cache = model.new_cache();
    std::vector<float> logits(size_t(model.config().vocab_size));
    const std::vector<Token> prompt(12, 5);
    model.run(prompt, cache, logits);
    for (const Token token : {1, 2, 3}) model.run({&token, 1}, cache, logits);
  } catch (const Error& error) {
    CHECK(error.kind == ErrorKind::resource);
    return error.what();
  }
  return {};
}

}  // namespace hearth::test
