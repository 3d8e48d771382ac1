// What a model asks of the GPU, emulated: memory, waits, recorded steps. What it computes there:
// golden/gpu_logits_test.
#include <doctest/doctest.h>

#include "runtime/support/size_text.h"
#include "tests/runtime/engine/gpu_scope.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Scope = GpuScope;

constexpr size_t kDriver = size_t(64) << 20;  // what is left to it (runtime/engine/model.cpp)

// What the model takes, its cache included.
size_t bytes_needed(const GgufFile& file, const ModelOptions& options) {
  const Model model(GgufFile::open(file.path()), options);
  return model.copied_bytes() + model.cache_bytes() + model.working_bytes();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a decoded token allocates nothing, builds no graph, and waits once: for its logits") {
  for (const TinyShape& shape : {TinyShape::lite(), TinyShape::v2(), TinyShape::v3()}) {
    if (kSanitized && !shape.sigmoid) continue;
    Model model(TinyModel(shape).file(), {.ops = &gpu(), .device = gpu_device()});
    KvCache cache = model.new_cache();
    std::vector<float> logits(size_t(shape.vocab));
    const std::vector<Token> prompt(16, 5);
    model.run(prompt, cache, logits);
    const auto decode = [&](int n) {
      for (Token token = 0; token < n; ++token) model.run({&token, 1}, cache, logits);
    };
    decode(2);  // queued, then recorded
    const emulation::RuntimeCalls before = emulation::runtime_calls();
    const StepCounts steps = gpu_device()->step_counts();
    decode(20);
    const emulation::RuntimeCalls after = emulation::runtime_calls();
    CHECK(gpu_device()->step_counts().repeated - steps.repeated == 20);
    CHECK(after.allocations == before.allocations);
    CHECK(after.frees == before.frees);
    CHECK(after.graphs == before.graphs);
    CHECK(after.waits - before.waits == 20);
  }
}

TEST_CASE("a slice that is stopped between layers leaves the cache as it was") {
  const TinyShape shape = TinyShape::v2();
  Model model(TinyModel(shape).file(), {.ops = &gpu(), .device = gpu_device(), .ubatch = 10});
  check_stops(model, some_tokens(25, shape.vocab));
}

TEST_CASE("memory is predicted to the byte, whatever the file's layout") {
  for (const int layout : {0, 1, 2}) {
    TinyModel tiny(TinyShape::v2());
    if (layout == 1) tiny.make_old_layout();
    if (layout == 2) tiny.fuse_gate_up();
    for (auto& t : tiny.tensors)
      if (t.name.ends_with("norm.weight") && layout == 2) t.format = FormatId::f16;
    const GgufFile file = tiny.file();
    const size_t before = gpu_bytes_taken();
    {
      const emulation::RuntimeCalls calls = emulation::runtime_calls();
      Model model(GgufFile::open(file.path()), {.ops = &gpu(), .device = gpu_device()});
      const KvCache cache = model.new_cache();
      const size_t predicted = model.copied_bytes() + model.cache_bytes() + model.working_bytes();
      const size_t taken = gpu_bytes_taken() - before;
      CHECK(taken >= predicted);
      // Weights, activations, scratch, angles, cache, tables of pages: with what lies behind each.
      CHECK(taken <= predicted + 6 * 512);
      CHECK(emulation::runtime_calls().allocations - calls.allocations <= 6 + 16);  // and page-locked ones, once
    }
    CHECK(gpu_bytes_taken() == before);
  }
}

TEST_CASE("what just fits is loaded; of one byte less nothing is, and the numbers say why") {
  const Scope scope;
  const GgufFile file = TinyModel(TinyShape::lite()).file();
  const ModelOptions options{.ops = &gpu(), .device = gpu_device()};
  const size_t need = bytes_needed(file, options) + kDriver, others = size_t(7) << 20;
  emulation::settings().others = others;
  emulation::settings().memory = gpu_bytes_taken() + need;
  CHECK(failure_of(file, options) == "");
  emulation::settings().memory -= 1;
  const emulation::RuntimeCalls calls = emulation::runtime_calls();
  const std::string refusal = failure_of(file, options);
  CAPTURE(refusal);
  CHECK(contains(refusal, fmt::format("the GPU's memory: {} are too little, the least is {} (kv_cache ",
                                      binary_size_text(need - 1), binary_size_text(need))));
  CHECK(contains(refusal, "; 1 B more would be needed even for a context of 256 tokens"));
  CHECK(emulation::runtime_calls().allocations == calls.allocations);
}

TEST_CASE("where a context does not fit, the longest one that does is named, or what is missing") {
  const Scope scope;
  TinyShape shape = TinyShape::lite();
  shape.context = 4096;
  const GgufFile file = TinyModel(shape).file();
  const auto options = [](int64_t n_ctx) {
    return ModelOptions{.ops = &gpu(), .device = gpu_device(), .n_ctx = n_ctx};
  };
  emulation::settings().memory = gpu_bytes_taken() + bytes_needed(file, options(2048)) + kDriver;
  const std::string refusal = failure_of(file, options(4096));
  CAPTURE(refusal);
  CHECK(contains(refusal, "; a context of 2048 tokens would fit"));
  CHECK(failure_of(file, options(2048)) == "");
  CHECK(failure_of(file, options(2048 + 256)) != "");
  emulation::settings().memory = size_t(1) << 20;
  const std::string hopeless = failure_of(file, options(4096));
  CAPTURE(hopeless);
  CHECK(contains(hopeless, " MiB more would be needed even for a context of 256 tokens"));
}

TEST_CASE("memory that another program takes after it was counted: one line, with the numbers") {
  const Scope scope;
  const GgufFile file = TinyModel().file();
  const auto [total, free] = gpu_device()->memory();
  for (const size_t left : {size_t(0), size_t(1) << 20}) {  // too little for the weights, or for what comes later
    emulation::settings().others = 0;
    emulation::settings().others_later = free - left;
    const std::string refusal = failure_of(file, {.ops = &gpu(), .device = gpu_device()});
    CAPTURE(refusal);
    CHECK(contains(refusal, "out of memory: "));
    CHECK(contains(refusal,
                   left ? " bytes are needed for the " : " bytes are needed for the weights, but of the GPU's "));
    CHECK(contains(refusal, fmt::format("but of the GPU's {} only {}", total, left ? "" : "0 are free")));
  }
}

TEST_CASE("an allocation that fails, or a device that is lost: one error, and all memory is given back") {
  const Scope scope;
  const GgufFile file = TinyModel().file();
  CHECK(failure_of(file, {.ops = &gpu(), .device = gpu_device()}) == "");
  const size_t before = gpu_bytes_taken();
  int refused = 0;
  for (int64_t n = 1; n <= 7; ++n) {
    emulation::settings().fail_allocation = n;
    refused += contains(failure_of(file, {.ops = &gpu(), .device = gpu_device()}), "out of memory: ");
    emulation::settings().fail_allocation = 0;
    CHECK(gpu_bytes_taken() == before);
    CHECK(failure_of(file, {.ops = &gpu(), .device = gpu_device()}) == "");
  }
  CHECK(refused == 6);  // the seventh is nobody's
  for (const int64_t n : {1, 2, 30, 60, 100, 140}) {
    CAPTURE(n);
    emulation::settings().fail_launch = n;
    CHECK(contains(failure_of(file, {.ops = &gpu(), .device = gpu_device()}), "unspecified launch failure"));
    CHECK(gpu_bytes_taken() == before);
    CHECK(failure_of(file, {.ops = &gpu(), .device = gpu_device()}) != "");  // it stays lost
    emulation::settings().fail_launch = 0;
    emulation::reset();
    gpu_device()->finish();
  }
}

TEST_CASE("a model whose GPU is lost says so, and says it again") {
  const Scope scope;
  Model model(TinyModel().file(), {.ops = &gpu(), .device = gpu_device()});
  KvCache cache = model.new_cache();
  std::vector<float> logits(size_t(model.config().vocab_size));
  const auto decode = [&](Token token) { model.run({&token, 1}, cache, logits); };
  for (const Token token : {1, 2, 3}) decode(token);
  CHECK(model.works());
  emulation::settings().fail_launch = 5;  // in the middle of a repeated step
  for (int i = 0; i < 3; ++i) {
    std::string what;
    try {
      decode(4);
    } catch (const Error& error) {
      what = error.what();
    }
    CAPTURE(what);
    CHECK(what.starts_with("emulated: "));
    CHECK(what.ends_with(": unspecified launch failure"));
    CHECK(!model.works());
  }
}
