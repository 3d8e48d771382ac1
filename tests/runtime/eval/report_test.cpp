// What is said about a model before and after it runs, on the CPU and with experts in two memories.
#include "runtime/eval/report.h"

#include <doctest/doctest.h>

#include "runtime/offload/hybrid.h"
#include "tests/runtime/engine/gpu_scope.h"
#include "tests/runtime/eval/facts.h"
#include "tests/runtime/model/tiny_model.h"

using namespace hearth;
using namespace hearth::test;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A tiny model on the GPU with n of its experts, 8 in each of two layers, there.
ModelOptions with_residents(std::optional<int64_t> n) {
  return {.ops = &gpu(), .device = gpu_device(), .n_threads = 1, .host_ops = &cpu_ops("scalar"), .resident_experts = n};
}

void run_some(Model& model) {
  KvCache cache = model.new_cache();
  std::vector<float> logits(size_t(model.config().vocab_size));
  for (const Token token : {1, 2, 3}) model.run({&token, 1}, cache, logits);
}

}  // namespace

TEST_CASE("report: the first lines name model, machine, context and memory") {
  Model model(TinyModel().file(), {.ops = &cpu_ops("scalar"), .n_threads = 2, .n_ctx = 128});
  const auto facts = startup_facts(model);
  CHECK(fact(facts, "model").starts_with("tiny: "));
  CHECK(contains(fact(facts, "model"), "32.00 bits per weight"));
  CHECK(fact(facts, "running") == "scalar operations, 2 threads");
  CHECK(fact(facts, "machine") == cpu_description());
  // 3 layers x 128 positions x 40 values x 2 bytes
  CHECK(fact(facts, "context") == "128 of 256 tokens; latent cache in BF16: 30.7 kB when full, 240 B per token");
  CHECK(contains(fact(facts, "memory"), "mapped"));
  CHECK(running_line(model) == "running on the CPU (scalar, 2 threads)");
  CHECK(model_line(model).starts_with("tiny: "));
  CHECK(model_line(model).ends_with(", context of 128 tokens"));
  CHECK(tier_facts(model).empty());
  const uint64_t all = inspect(model.file()).tensor_bytes;
  CHECK(weight_places(model, 0).memory == all);
  CHECK(weight_places(model, all + 1).disk == 0);
  CHECK(weight_places(model, 1000).memory == 1000);
  CHECK(weight_places(model, 1000).disk == all - 1000);
  CHECK(weight_places(model, 1000).gpu == 0);
  run_some(model);
  CHECK(expert_report(model).empty());
}

TEST_CASE("report: a model without a name is called by its path") {
  TinyModel tiny;
  tiny.metadata.erase(key::kName);
  const GgufFile file = tiny.file();
  const std::string path = file.path();
  Model model(GgufFile::open(path), {.ops = &cpu_ops("scalar")});
  CHECK(model_line(model).starts_with(path + ": "));
  CHECK(fact(startup_facts(model), "model").starts_with(path + ": "));
  CHECK(running_line(model) == "running on the CPU (scalar, 1 thread)");
}

TEST_CASE("report: a whole model on the GPU") {
  Model model(TinyModel().file(), with_residents({}));
  CHECK(running_line(model) == "running on the GPU");
  CHECK(fact(startup_facts(model), "running") == std::string(gpu().name) + " operations");
  CHECK(contains(fact(startup_facts(model), "memory"), " on the GPU, "));
  CHECK(contains(fact(tier_facts(model), "experts"), "(8 of 8 in every layer)"));
  CHECK(contains(fact(tier_facts(model), "vram"), " used as planned"));
  CHECK(weight_places(model, 0).gpu >= inspect(model.file()).tensor_bytes);
  CHECK(weight_places(model, 0).memory == 0);
}

TEST_CASE("report: experts in two memories, where they are and what became of it") {
  for (const auto& [n, where] : {std::pair{6, "(3 of 8 in every layer), "}, {7, "(3 to 4 of 8 in a layer), "}}) {
    CAPTURE(n);
    Model model(TinyModel().file(), with_residents(n));
    CHECK(running_line(model) == "running on the GPU, with experts on the CPU (scalar, 1 thread)");
    CHECK(contains(fact(tier_facts(model), "experts"), where));
    CHECK(contains(fact(tier_facts(model), "experts"), " in memory"));
    CHECK(weight_places(model, 0).gpu > 0);
    CHECK(weight_places(model, 0).memory > 0);
    CHECK(weight_places(model, 0).disk == 0);
    run_some(model);
    const HybridCounts& counts = model.hybrid()->counts();
    REQUIRE(counts.chosen == 3 * 2 * 3);  // tokens, layers, experts
    const auto facts = expert_report(model);
    CHECK(fact(facts, "experts") ==
          fmt::format("of 18 choices {:.1f} % were on the GPU and {:.1f} % were copied there for a prompt",
                      100 * double(counts.on_gpu) / 18, 100 * double(counts.staged) / 18));
    CHECK(contains(fact(facts, "cpu"), " of experts, "));
    CHECK(contains(fact(facts, "cpu"), " % of the time"));
    for (const char* name : {"gpu", "copies", "disk"}) CHECK(!fact(facts, name).empty());
  }
}
