// Experts in slots of the GPU's memory, resident or passing through, with a bus that delivers as late as it may: a copy
// destroys what is in its slot when it is asked for, and is there when somebody waits for it.
#include "runtime/offload/expert_stage.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "runtime/model/activations.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/host_like.h"

using namespace hearth;
using namespace hearth::test;

namespace {

class SlowBus final : public HostLike {
 public:
  int64_t waits = 0;

  int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) override {
    memset(to, 0xff, bytes);  // NaN
    under_way_.push_back({from, to, bytes, ++last_});
    return last_;
  }
  bool fetched(int64_t number) override {
    if (there(number)) return true;
    if (++waits % 3 == 0) await_fetch(number);
    return false;
  }
  void await_fetch(int64_t number) override {
    for (; !there(number); under_way_.pop_front())
      memcpy(under_way_.front().to, under_way_.front().from, under_way_.front().bytes);
  }
  bool all_there() const { return under_way_.empty(); }
  int64_t last() const { return last_; }

 private:
  struct Copy {
    const std::byte* from;
    std::byte* to;
    size_t bytes;
    int64_t number;
  };
  bool there(int64_t number) const { return under_way_.empty() || under_way_.front().number > number; }

  std::deque<Copy> under_way_;
  int64_t last_ = 0;
};

const Ops& scalar() {
  return cpu_ops("scalar");
}

// Two MoE layers (1 and 2) of eight experts; three of eight for every token.
struct Stage {
  static constexpr int64_t kTokens = 5, kActivated = 3, kDim = 64;

  SlowBus bus;
  GgufFile file = TinyModel(TinyShape::v2()).file();
  ModelSizes sizes = model_sizes(file);
  Weights weights = load_weights(file, sizes.config, bus, false);
  Plan plan;
  std::vector<std::byte> scratch;
  Exec exec;
  ExpertPool pool;
  ExpertStage stage{pool, bus, scalar(), exec};
  std::vector<float> x = std::vector<float>(size_t(kTokens * kDim));
  std::vector<int32_t> ids;
  std::vector<float> shares = std::vector<float>(size_t(kTokens * kActivated), 0.25f);

  explicit Stage(int64_t staging_slots, int64_t resident = 8)
      : plan(plan_of(sizes, staging_slots, resident)), pool(bus, weights.layers, sizes, plan) {
    const ScratchLimits limits = scratch_limits(sizes.config, kTokens, 64, 1);
    scratch.resize(scalar().scratch_bytes(limits) + 64);
    exec.scratch = std::span(scratch).subspan((64 - size_t(scratch.data()) % 64) % 64);
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(i % 7) - 3;
    for (int32_t i = 0; i < kTokens * kActivated; ++i) ids.push_back(i * 3 % 8);
  }
  static Plan plan_of(const ModelSizes& sizes, int64_t staging_slots, int64_t resident) {
    PlacementInput input;
    input.machine.vram = input.machine.ram = uint64_t(1) << 30;
    input.gpu_scratch = estimated_gpu_scratch;
    input.cpu_scratch = scratch_of(scalar(), host_device());
    input.resident_experts = resident;
    input.staging_slots = staging_slots;
    return plan_placement(sizes, input);
  }
  Mat<const float> input() const { return {x.data(), kTokens, kDim}; }
  Chosen chosen() const { return {ids.data(), shares.data(), kActivated}; }

  // What these experts of a layer add, straight from the file.
  std::vector<float> expected(int64_t layer, const std::vector<int32_t>& experts) {
    std::vector<int32_t> table(8, -1);
    for (const int32_t e : experts) table[size_t(e)] = e;
    FfnWeights w = weights.layers[size_t(layer)].experts;
    w.slots = table.data();
    w.n_slots = 8;
    return sum_of(w);
  }
  std::vector<float> sum_of(const FfnWeights& w) {
    std::vector<float> y(x.size());
    scalar().moe_ffn(exec, w, {}, ids.data(), shares.data(), kActivated, input(), {y.data(), kTokens, kDim});
    return y;
  }
  std::vector<float> computed(int64_t layer, bool* waited = nullptr) {
    std::vector<float> part(x.size()), y(x.size());
    const bool w = stage.compute(layer, chosen(), input(), {part.data(), kTokens, kDim}, {y.data(), kTokens, kDim});
    if (waited) *waited = w;
    return y;
  }
};

}  // namespace

TEST_CASE("pool: every expert is on one side, and computes there as it does from the file") {
  Stage s(2);
  CHECK(s.pool.bytes() == s.plan.pool_bytes());
  CHECK(s.pool.n_staging() == 2);
  CHECK(s.pool.largest_expert() == std::max(s.pool.expert_bytes(1), s.pool.expert_bytes(2)));
  const std::vector<int32_t> resident = {6, 1, 3};
  for (const int64_t layer : {1, 2}) {
    CHECK(s.expected(layer, {0, 1, 2, 3, 4, 5, 6, 7}) == s.sum_of(s.pool.on_host(layer)));  // at first
    int64_t last = 0;
    for (size_t i = 0; i < resident.size(); ++i) {  // slots of one class, whichever layer they are of
      const int64_t slot = int64_t(i) + (layer - 1) * 4;
      last = s.pool.load(layer, resident[i], slot);
      s.pool.set(layer, resident[i], int32_t(slot));
    }
    s.bus.await_fetch(last);
  }
  s.pool.set(2, 3, -1);  // gone again
  s.pool.publish();
  CHECK(s.sum_of(s.pool.on_gpu(1)) == s.expected(1, {6, 1, 3}));
  CHECK(s.sum_of(s.pool.on_host(1)) == s.expected(1, {0, 2, 4, 5, 7}));
  CHECK(s.sum_of(s.pool.on_gpu(2)) == s.expected(2, {6, 1}));
  CHECK(s.sum_of(s.pool.on_host(2)) == s.expected(2, {0, 2, 3, 4, 5, 7}));
  for (const int64_t e : {0, 1, 2, 3, 4, 5, 6, 7}) {
    CHECK(s.pool.resident(1, e) == (e == 1 || e == 3 || e == 6));
    CHECK(s.pool.resident(2, e) == (e == 1 || e == 6));
  }
}

TEST_CASE("stage: more experts than slots, each copied once and computed with before its slot is used again") {
  for (const int64_t slots : {2, 4, 6, 16}) {
    for (const std::vector<int32_t>& experts : {std::vector<int32_t>{5}, {7, 0}, {4, 2, 6}, {0, 1, 2, 3, 4, 5, 6, 7}}) {
      CAPTURE(slots);
      CAPTURE(experts.size());
      Stage s(slots);
      CHECK(s.stage.batch_size() == size_t(slots / 2));
      bool waited = false;
      s.stage.begin(1, experts);
      const std::vector<float> y = s.computed(1, &waited), expected = s.expected(1, experts);
      CHECK(waited);  // nothing arrives by itself here
      CHECK(relative_error(y, expected) < 1e-6);
      CHECK(s.stage.bytes_copied() == experts.size() * s.pool.expert_bytes(1));
    }
  }
}

TEST_CASE("stage: what was prefetched for the next layer is not copied again, and survives the rest of this one") {
  Stage s(4);
  s.stage.begin(1, std::vector<int32_t>{0, 1, 2, 3, 4});
  const std::vector<float> first = s.computed(1);
  s.stage.prefetch(2, std::vector<int32_t>{6, 2, 7});  // a batch of them
  CHECK(std::ranges::equal(s.stage.on_their_way(2), std::vector<int32_t>{6, 2}));
  CHECK(s.stage.on_their_way(1).empty());
  s.stage.begin(2, std::vector<int32_t>{2, 3, 6, 7});
  CHECK(s.stage.on_their_way(2).empty());
  CHECK(relative_error(first, s.expected(1, {0, 1, 2, 3, 4})) < 1e-6);
  CHECK(relative_error(s.computed(2), s.expected(2, {2, 3, 6, 7})) < 1e-6);
  CHECK(s.stage.bytes_copied() == 5 * s.pool.expert_bytes(1) + 4 * s.pool.expert_bytes(2));
}

TEST_CASE("stage: copies that an aborted step began are over before the next one") {
  Stage s(4);
  s.stage.prefetch(1, std::vector<int32_t>{4, 5});
  CHECK_FALSE(s.bus.all_there());
  s.stage.reset();
  CHECK(s.bus.all_there());
  CHECK(s.stage.on_their_way(1).empty());
  s.stage.begin(1, std::vector<int32_t>{5, 6});
  CHECK(relative_error(s.computed(1), s.expected(1, {5, 6})) < 1e-6);
  s.stage.reset();
}

TEST_CASE("stage: without slots nothing is prefetched") {
  Stage s(0);
  CHECK(s.stage.batch_size() == 0);
  s.stage.prefetch(1, std::vector<int32_t>{4, 5});
  CHECK(s.stage.on_their_way(1).empty());
  CHECK(s.stage.bytes_copied() == 0);
}
