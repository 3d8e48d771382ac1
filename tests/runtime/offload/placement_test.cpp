// Placement of models of true size: the headers of files whose data is a hole.
#include "runtime/offload/placement.h"

#include <doctest/doctest.h>

#include <optional>

#include <map>
#include <numeric>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/runtime/offload/shape_file.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr uint64_t kGiB = uint64_t(1) << 30;

struct PlacementCase {
  std::string name;
  uint64_t tensor_bytes = 0;
  size_t n_tensors = 0;
  ModelSizes model;
};

PlacementCase load(const TrueShape& shape, const char* recipe) {
  const TempDir folder;
  const ShapeFile file(shape, recipe);
  file.write(folder / "model.gguf");
  return {std::string(shape.name) + " " + recipe, file.tensor_bytes(), file.n_tensors(),
          model_sizes(GgufFile::open(folder / "model.gguf"))};
}

const std::vector<PlacementCase>& cases() {
  static const std::vector<PlacementCase> all = {load(TrueShape::lite(), "q4_k_m"), load(TrueShape::v2(), "q4_k_m"),
                                                 load(TrueShape::v2(), "q3_k_m"), load(TrueShape::v3(), "q3_k_m"),
                                                 load(TrueShape::v3(), "q4_k_m")};
  return all;
}
const PlacementCase& lite() {
  return cases()[0];
}
const PlacementCase& v2() {
  return cases()[1];
}
const PlacementCase& v3() {
  return cases()[3];
}

PlacementInput input(double vram_gib, double ram_gib, int64_t n_ctx) {
  PlacementInput in;
  in.machine.vram = uint64_t(vram_gib * double(kGiB));
  in.machine.ram = uint64_t(ram_gib * double(kGiB));
  in.n_ctx = n_ctx;
  in.n_threads = 8;
  in.gpu_scratch = estimated_gpu_scratch;
  in.cpu_scratch = scratch_of(cpu_ops("scalar"), host_device());
  return in;
}

// Some experts are used far more than others, and not the first ones.
std::vector<float> skewed_use(const ModelSizes& model) {
  const size_t E = size_t(model.config.n_routed_experts);
  std::vector<float> use(model.experts.size() * E);
  for (size_t i = 0; i < use.size(); ++i) use[i] = 1000.0f / float(1 + (i * 7919 + i / E) % E);
  return use;
}

int64_t count(const Plan& plan, Tier tier) {
  int64_t n = 0;
  for (const LayerPlan& layer : plan.layers) n += layer.count(tier);
  return n;
}

// What must hold of every plan.
void check_plan(const PlacementCase& c, const PlacementInput& in, const Plan& plan) {
  for (const TierPlan* tier : {&plan.vram, &plan.ram, &plan.disk}) CHECK(tier->used() <= tier->budget);
  const ModelConfig& config = c.model.config;

  // The cache and the working memory are always there, and where the weights are that need them.
  const TierPlan& first = plan.has_gpu ? plan.vram : plan.ram;
  CHECK(first.classes[MemoryClass::kv_cache] ==
        uint64_t(config.n_layers * in.n_ctx * config.cache_width() * (in.cache_format == FormatId::f32 ? 4 : 2)));
  CHECK(first.classes[MemoryClass::working] > uint64_t(in.ubatch * config.dim * 4 * 3));

  // All weights are somewhere, once, but for what is lost by alignment.
  uint64_t weights = 0;
  for (const TierPlan* tier : {&plan.vram, &plan.ram, &plan.disk}) {
    for (int i = int(MemoryClass::attention); i < kMemoryClasses; ++i) weights += tier->classes.bytes[size_t(i)];
  }
  CHECK(weights >= c.tensor_bytes);
  CHECK(weights <= c.tensor_bytes + c.n_tensors * 256 + uint64_t(plan.n_resident()) * 3 * 256);
  const int64_t n_experts = int64_t(plan.layers.size()) * config.n_routed_experts;
  CHECK(count(plan, Tier::vram) + count(plan, Tier::ram) + count(plan, Tier::disk) == n_experts);
  CHECK(count(plan, Tier::vram) == plan.n_resident());

  std::vector<int64_t> slots(plan.slots.size());
  for (const LayerPlan& layer : plan.layers) {
    CHECK(layer.share[0] + layer.share[1] + layer.share[2] == doctest::Approx(1));
    if (plan.slots.empty()) continue;
    slots[size_t(layer.slot_class)] += int64_t(layer.resident.size());
    CHECK(plan.slots[size_t(layer.slot_class)].bytes ==
          c.model.experts[size_t(layer.layer - config.n_dense_layers)].slot.bytes);
  }
  uint64_t slot_bytes = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    CHECK(plan.slots[i].n_slots == slots[i]);
    slot_bytes += plan.slots[i].bytes * uint64_t(slots[i]);
  }
  if (plan.has_gpu && !plan.all_on_gpu) CHECK(plan.vram.classes[MemoryClass::experts] == slot_bytes);
}

}  // namespace

TEST_CASE("placement: budgets from 4 to 96 GiB, contexts from 2k to 128k") {
  int n_planned = 0, n_refused = 0;
  for (const PlacementCase& c : cases()) {
    for (const int64_t n_ctx : {2048, 8192, 131072}) {
      for (const double ram : {16, 64, 192, 768}) {
        int64_t resident = -1, on_disk = INT64_MAX;
        for (const double vram : {4, 8, 16, 24, 48, 96}) {
          CAPTURE(c.name);
          CAPTURE(n_ctx);
          CAPTURE(ram);
          CAPTURE(vram);
          const PlacementInput in = input(vram, ram, n_ctx);
          Plan plan;
          try {
            plan = plan_placement(c.model, in);
          } catch (const Error& error) {
            CHECK(error.kind == ErrorKind::resource);
            CHECK(mentions(error.what(), {"are too little, the least is ", "kv_cache ", "working "}));
            CHECK(resident == -1);  // what was enough stays enough
            ++n_refused;
            continue;
          }
          ++n_planned;
          check_plan(c, in, plan);
          CHECK(plan.n_resident() >= resident);
          CHECK(count(plan, Tier::disk) <= on_disk);
          resident = plan.n_resident();
          on_disk = count(plan, Tier::disk);
        }
      }
    }
  }
  CHECK(n_planned > 200);
  CHECK(n_refused > 20);
}

TEST_CASE("placement: 236B at q4_k_m runs from 16 GiB and 128 GiB, 671B in three bits from 24 and 384") {
  const Plan v2_plan = plan_placement(v2().model, input(16, 128, 8192));
  CHECK(v2_plan.n_resident() > 0);
  CHECK(count(v2_plan, Tier::disk) == 0);
  const Plan v3_plan = plan_placement(v3().model, input(24, 384, 8192));
  CHECK(v3_plan.n_resident() > 0);
  CHECK(count(v3_plan, Tier::disk) == 0);
  const Plan lite_plan = plan_placement(lite().model, input(16, 16, 8192));
  CHECK(lite_plan.all_on_gpu);
}

TEST_CASE("placement: of what nothing is known is split evenly") {
  const Plan plan = plan_placement(v2().model, input(16, 128, 8192));
  int64_t least = INT64_MAX, most = 0;
  for (const LayerPlan& layer : plan.layers) {
    least = std::min(least, layer.count(Tier::vram));
    most = std::max(most, layer.count(Tier::vram));
  }
  CHECK(most - least <= 1);
  CHECK(plan.slots.size() == 2);  // down in Q6_K or in Q4_K
  // No room is left but for less than one expert.
  CHECK(plan.vram.budget - plan.vram.used() < std::max(plan.slots[0].bytes, plan.slots[1].bytes));
}

TEST_CASE("placement: a budget is used to its last byte, and of one byte less an expert is elsewhere") {
  PlacementInput in = input(16, 64, 8192);
  const Plan plan = plan_placement(v2().model, in);
  in.machine.vram = plan.vram.used();
  CHECK(plan_placement(v2().model, in).n_resident() == plan.n_resident());
  in.machine.vram -= 1;
  CHECK(plan_placement(v2().model, in).n_resident() == plan.n_resident() - 1);
  in = input(16, 64, 8192);
  in.machine.ram = plan.ram.used();
  CHECK(count(plan_placement(v2().model, in), Tier::disk) == count(plan, Tier::disk));
  in.machine.ram -= 1;
  CHECK(count(plan_placement(v2().model, in), Tier::disk) == count(plan, Tier::disk) + 1);
}

TEST_CASE("placement: the most used experts are in VRAM, the least used on disk") {
  const std::vector<float> use = skewed_use(v2().model);
  PlacementInput in = input(16, 64, 8192);
  in.use = use;
  const Plan plan = plan_placement(v2().model, in);
  check_plan(v2(), in, plan);
  REQUIRE(count(plan, Tier::disk) > 0);
  REQUIRE(count(plan, Tier::ram) > 0);
  // As shares of a layer's uses, since every layer uses as many experts for a token.
  const size_t E = size_t(v2().model.config.n_routed_experts);
  std::map<Tier, std::pair<double, double>> range;  // least and most
  double resident_share = 0;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const auto layer_use = std::span(use).subspan(l * E, E);
    const double sum = std::accumulate(layer_use.begin(), layer_use.end(), 0.0);
    for (size_t e = 0; e < E; ++e) {
      auto [it, fresh] = range.try_emplace(plan.layers[l].tier[e], 1.0, 0.0);
      it->second.first = std::min(it->second.first, layer_use[e] / sum);
      it->second.second = std::max(it->second.second, layer_use[e] / sum);
    }
    const auto& resident = plan.layers[l].resident;
    for (size_t i = 1; i < resident.size(); ++i) {
      CHECK(layer_use[size_t(resident[i - 1])] >= layer_use[size_t(resident[i])]);
    }
    resident_share += plan.layers[l].share[0] / double(plan.layers.size());
  }
  CHECK(range[Tier::vram].first >= range[Tier::ram].second);
  CHECK(range[Tier::ram].first >= range[Tier::disk].second);
  CHECK(resident_share > 2.0 * double(plan.n_resident()) / double(plan.layers.size() * E));
}

TEST_CASE("placement: the same input gives the same plan") {
  const std::vector<float> use = skewed_use(v2().model);
  PlacementInput in = input(16, 64, 8192);
  for (const bool skewed : {false, true}) {
    if (skewed) in.use = use;
    const Plan a = plan_placement(v2().model, in), b = plan_placement(v2().model, in);
    for (size_t l = 0; l < a.layers.size(); ++l) {
      CHECK(a.layers[l].resident == b.layers[l].resident);
      CHECK(a.layers[l].tier == b.layers[l].tier);
    }
  }
}

TEST_CASE("placement: without a GPU everything is in the host's memory, experts last") {
  const PlacementInput in = input(0, 64, 8192);
  const Plan plan = plan_placement(v2().model, in);
  check_plan(v2(), in, plan);
  CHECK(plan.vram.used() == 0);
  CHECK(plan.n_resident() == 0);
  CHECK(plan.slots.empty());
  CHECK(plan.ram.classes[MemoryClass::attention] == v2().model.fixed[MemoryClass::attention]);
  CHECK(plan.disk.classes[MemoryClass::experts] == plan.disk.used());
  // Where not even the rest fits, it too comes from the file.
  const Plan tight = plan_placement(v2().model, input(0, 3, 2048));
  CHECK(count(tight, Tier::disk) == int64_t(tight.layers.size()) * 160);
  CHECK(tight.disk.classes[MemoryClass::embedding] > 0);
  CHECK(tight.ram.classes[MemoryClass::kv_cache] > 0);
}

TEST_CASE("placement: so many resident experts as are asked for, in slots even where all fit") {
  PlacementInput in = input(96, 768, 2048);
  const int64_t all = 26 * 64;
  for (const int64_t n : {int64_t(0), int64_t(1), int64_t(100), all}) {
    in.resident_experts = n;
    const Plan plan = plan_placement(lite().model, in);
    check_plan(lite(), in, plan);
    CHECK(plan.n_resident() == n);
    CHECK(!plan.all_on_gpu);
  }
  in.resident_experts = all + 1;
  CHECK(mentions(refusal(ErrorKind::usage, [&] { plan_placement(lite().model, in); }),
                 {"resident experts: expected 0 to 1664, found 1665"}));
  in = input(4, 768, 2048);
  in.resident_experts = all;
  CHECK(mentions(refusal(ErrorKind::resource, [&] { plan_placement(lite().model, in); }),
                 {"resident experts: ", " of 1664 fit into the ", " GiB of the GPU's memory", "found 1664"}));
  in = input(0, 768, 2048);
  in.resident_experts = 1;
  CHECK(
      mentions(refusal(ErrorKind::resource, [&] { plan_placement(lite().model, in); }), {"0 without a GPU, found 1"}));
}

TEST_CASE("placement: slots for prefill, and tables of slots, are part of what must be there") {
  PlacementInput in = input(16, 128, 8192);
  const Plan without = plan_placement(v2().model, in);
  in.staging_slots = 8;
  const Plan with = plan_placement(v2().model, in);
  check_plan(v2(), in, with);
  CHECK(with.vram.classes[MemoryClass::staging] == 8 * std::max(with.slots[0].bytes, with.slots[1].bytes));
  CHECK(with.n_resident() < without.n_resident());
  CHECK(with.vram.classes[MemoryClass::slot_tables] == aligned_bytes((59 + 8) * 160 * 4));
}

TEST_CASE("placement: a slot holds the three parts of an expert, each where any kernel can read it") {
  const ExpertSlot slot = ExpertSlot::of(100, 300, 256);
  CHECK(slot.up_at == 256);
  CHECK(slot.down_at == 768);
  CHECK(slot.bytes == 1024);
  // Nothing is lost at true sizes.
  for (const PlacementCase& c : cases()) {
    for (const ExpertLayer& layer : c.model.experts) CHECK(layer.slot.bytes == layer.expert_bytes);
  }
}

TEST_CASE("placement: a model without experts is on the GPU, or refused") {
  TinyShape shape;
  shape.n_dense = shape.n_layers;
  TinyModel tiny(shape);
  tiny.metadata.set(key::kExpertCount, GgufValue::of_u32(0));
  const ModelSizes model = model_sizes(tiny.file());
  PlacementInput in = input(1, 1, 256);
  const Plan plan = plan_placement(model, in);
  CHECK(plan.all_on_gpu);
  CHECK(plan.layers.empty());
  in.machine.vram = plan.vram.used();
  CHECK(plan_placement(model, in).all_on_gpu);
  in.machine.vram -= 1;
  CHECK(mentions(refusal(ErrorKind::resource, [&] { plan_placement(model, in); }), {"too little", "dense_ffn"}));
}

TEST_CASE("placement: too small a budget: the least, what fills it, and the context that would fit") {
  const std::string longer = refusal(ErrorKind::resource, [] { plan_placement(v2().model, input(12, 128, 131072)); });
  CHECK(mentions(longer, {"the GPU's memory: 12.0 GiB are too little, the least is ", "(kv_cache 8.44 GiB, working ",
                          "driver 64.0 MiB", "attention ", "shared_experts ", "; a context of ", " tokens would fit"}));
  const int64_t fits = std::stoll(longer.substr(longer.find("a context of ") + 13));
  CHECK_NOTHROW(plan_placement(v2().model, input(12, 128, fits)));
  CHECK(refusal(ErrorKind::resource, [&] { plan_placement(v2().model, input(12, 128, fits + 256)); }) != "");

  CHECK(mentions(refusal(ErrorKind::resource, [] { plan_placement(v2().model, input(4, 128, 8192)); }),
                 {" GiB more would be needed even for a context of 256 tokens"}));
  CHECK(mentions(refusal(ErrorKind::resource, [] { plan_placement(v2().model, input(16, 0.001, 8192)); }),
                 {"the host's memory: ", "working "}));
  CHECK(mentions(refusal(ErrorKind::resource, [] { plan_placement(v2().model, input(0, 0.25, 8192)); }),
                 {"the host's memory: 256 MiB are too little", "kv_cache 540 MiB"}));
}

TEST_CASE("placement: what is asked wrongly is refused") {
  const auto refused = [](ErrorKind kind, const PlacementInput& in) {
    return refusal(kind, [&] { plan_placement(lite().model, in); });
  };
  PlacementInput in = input(16, 64, 163841);
  CHECK(mentions(refused(ErrorKind::resource, in), {"a context of 163841 tokens is too long", "163840"}));
  in = input(16, 64, -1);
  CHECK(mentions(refused(ErrorKind::usage, in), {"context: expected at least 1, found -1"}));
  in = input(16, 64, 2048);
  in.ubatch = -1;
  CHECK(mentions(refused(ErrorKind::usage, in), {"ubatch: expected at least 1, found -1"}));
  in = input(16, 64, 2048);
  in.staging_slots = -2;
  CHECK(mentions(refused(ErrorKind::usage, in), {"staging slots: expected at least 0, found -2"}));
  in = input(16, 64, 2048);
  std::vector<float> use(5, 1.0f);
  in.use = use;
  CHECK(mentions(refused(ErrorKind::usage, in), {"use of experts: expected 26 layers of 64, found 5 values"}));
  use.assign(26 * 64, 1.0f);
  for (const float bad : {-1.0f, NAN, INFINITY}) {
    use[77] = bad;
    in.use = use;
    CHECK(mentions(refused(ErrorKind::usage, in), {"use of experts: expected counts, found "}));
  }
}

TEST_CASE("placement: how many tokens at once, where nobody says") {
  const auto planned = [](const PlacementCase& c, double vram_gib, int64_t n_ctx = 8192) {
    PlacementInput in = input(vram_gib, 256, n_ctx);
    in.ubatch = kAutomaticUbatch;
    in.staging_slots = -1;
    const Plan plan = plan_placement(c.model, in);
    in.ubatch = plan.ubatch;  // and said, it is the same plan
    check_plan(c, in, plan);
    CHECK(plan_placement(c.model, in).vram.used() == plan.vram.used());
    return plan;
  };
  CHECK(planned(lite(), 0).ubatch == 2048);  // host_ubatch_test.cpp
  CHECK(planned(v2(), 0, 1024).ubatch == 1024);
  const Plan whole = planned(lite(), 24);
  CHECK(whole.all_on_gpu);
  CHECK(whole.ubatch == 2048);
  CHECK(planned(lite(), 24, 1024).ubatch == 1024);
  const Plan hybrid = planned(v2(), 24);
  CHECK(!hybrid.all_on_gpu);
  CHECK(hybrid.n_resident() > 0);
  CHECK(hybrid.ubatch == 4096);

  // With less memory it shrinks before anything is refused, and never grows.
  const auto fits = [&](double gib, int64_t ubatch) {
    PlacementInput in = input(gib, 256, 8192);
    in.ubatch = ubatch;
    try {
      return plan_placement(v2().model, in).vram.budget > 0;
    } catch (const Error& error) {
      CHECK(error.kind == ErrorKind::resource);
      return false;
    }
  };
  const auto least = [&](int64_t ubatch) {  // GiB
    double refused = 1, enough = 24;
    while (enough - refused > 1.0 / 4096) {
      const double middle = (refused + enough) / 2;
      (fits(middle, ubatch) ? enough : refused) = middle;
    }
    return enough;
  };
  const double least_of_all = least(kAutomaticUbatch);
  CHECK(least_of_all == least(64));
  CHECK(least_of_all < least(512) - 0.01);
  CHECK(planned(v2(), least_of_all).ubatch == 64);
  int64_t last = 4096;
  for (double gib = 24; gib > least_of_all; gib -= 0.5) {
    const int64_t ubatch = planned(v2(), gib).ubatch;
    CHECK(ubatch <= last);
    last = ubatch;
  }

  // Where the whole model fits onto the GPU with a smaller one, it goes there.
  for (double gib = 12; gib > 8; gib -= 0.03125) {
    PlacementInput in = input(gib, 256, 8192);
    in.ubatch = 64;
    if (plan_placement(lite().model, in).all_on_gpu) CHECK(planned(lite(), gib).all_on_gpu);
  }
}
