// The emulated GPU in tests of whole models: its settings for one test, its memory, models that fail on it.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "runtime/engine/model.h"
#include "tests/emulation/settings.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/sanitized.h"

namespace hearth::test {

inline const Ops& gpu() {
  REQUIRE_MESSAGE(open_gpu().ops, open_gpu().why_not);
  return *open_gpu().ops;
}

inline Device* gpu_device() {
  REQUIRE_MESSAGE(open_gpu().device, open_gpu().why_not);
  return open_gpu().device;
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
    gpu_device()->finish();
  }
};

inline size_t gpu_bytes_taken() {
  const Device::Memory memory = gpu_device()->memory();
  return memory.total - memory.free;
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
  return gpu_device()->finish();  // an expert's copy, for the next token, may have been under way until the end
}

// Stops a model at every look of its watch, and goes on: the same bits as without. `run` counts in slices of the
// model's ubatch.
inline void check_stops(Model& model, std::span<const Token> tokens) {
  const auto V = size_t(model.config().vocab_size);
  const auto whole = all_logits(model, tokens);
  int n_asked = 0;
  KvCache cache = model.new_cache();
  REQUIRE(model.run(tokens, cache, {}, false, [&](const RunProgress&) { return ++n_asked > 0; }));
  REQUIRE(n_asked >= model.config().n_layers);
  constexpr int kStops = kSanitized ? 4 : 40;
  for (int stop = 0; stop < n_asked; stop += 1 + n_asked / kStops) {
    CAPTURE(stop);
    cache.truncate(0);
    int asked = 0;
    REQUIRE_FALSE(model.run(tokens, cache, {}, false, [&](const RunProgress&) { return asked++ < stop; }));
    const auto done = size_t(cache.length());
    REQUIRE(done % size_t(model.options().ubatch) == 0);
    std::vector<float> rest((tokens.size() - done) * V);
    REQUIRE(model.run(tokens.subspan(done), cache, rest, true));
    CHECK(std::ranges::equal(rest, std::span(whole).subspan(done * V)));
  }
}

// The same for one token, whose operations are recorded and repeated.
inline void check_stopped_tokens(Model& model, std::span<const Token> tokens) {
  std::vector<float> expected(size_t(model.config().vocab_size)), found(expected.size());
  KvCache cache = model.new_cache();
  for (int i = 0; i < 6; ++i) {
    CAPTURE(i);
    cache.truncate(0);
    REQUIRE(model.run(tokens, cache, {}));
    int asked = 0;
    const bool whole = model.run(tokens.first(1), cache, found, false, [&](const RunProgress&) { return asked++ < i; });
    REQUIRE(asked > 0);
    REQUIRE(whole == (asked <= i));  // a token that is repeated asks a few times only
    if (whole) break;
    CHECK(cache.length() == int64_t(tokens.size()));
    REQUIRE(model.run(tokens.first(1), cache, found));
    if (i == 0) expected = found;
    CHECK(found == expected);
  }
}

}  // namespace hearth::test
