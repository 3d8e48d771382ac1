// How fast experts move, with a clock and a bus that the test drives.
#include "runtime/offload/expert_cache.h"

#include <doctest/doctest.h>

#include <limits>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "runtime/model/read_config.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/support/host_like.h"

using namespace hearth;
using namespace hearth::test;

namespace {

using Clock = std::chrono::steady_clock;

struct World {
  Clock::time_point time{};
  Clock::duration tick{};  // of every look at the clock
  int64_t begun = 0, arrived = 0;
} world;

Clock::time_point now() {
  return world.time += world.tick;
}

// Copies arrive when the test says so.
class Bus final : public HostLike {
 public:
  int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) override {
    memcpy(to, from, bytes);
    return ++world.begun;
  }
  bool fetched(int64_t number) override { return number <= world.arrived; }
} bus;

// Two MoE layers of eight experts, of which four each are on the GPU. Filling it took kFillSeconds.
constexpr double kFillSeconds = 0.001;
constexpr int64_t kResident = 8;

struct Experts {
  GgufFile file = TinyModel(TinyShape::v2()).file();
  ModelSizes sizes = model_sizes(file);
  Plan plan = plan_of(sizes);
  Weights weights = load_weights(file, sizes.config, bus, false);
  ExpertPool pool{bus, weights.layers, sizes, plan};
  ExpertCache cache;
  int64_t fetches_of_expert = 3;  // gate, up, down

  explicit Experts(ExpertPolicy policy) : cache(pool, bus, sizes, plan, policy, {}, 0, now) {
    all_arrive();
    world.tick = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(kFillSeconds));
    cache.fill({});
    world.tick = {};
    begun_ = arrived_ = world.arrived = world.begun;
  }
  ~Experts() { all_arrive(); }  // the cache waits for them

  static Plan plan_of(const ModelSizes& sizes) {
    PlacementInput input;
    input.machine.vram = input.machine.ram = uint64_t(1) << 30;
    input.gpu_scratch = estimated_gpu_scratch;
    input.cpu_scratch = scratch_of(cpu_ops("scalar"), host_device());
    input.resident_experts = kResident;
    input.staging_slots = 0;
    return plan_placement(sizes, input);
  }
  void all_arrive() { world.arrived = std::numeric_limits<int64_t>::max(); }

  // A step in which both layers use these experts, after which as much time has passed as so many of them take to come
  // at full speed. How many began to move?
  int64_t step(const std::vector<int32_t>& used, double experts_of_time) {
    for (const int64_t layer : {1, 2}) cache.note(layer, used, {1, true});
    const double seconds = experts_of_time * kFillSeconds / double(kResident);
    world.time += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    cache.begin_step();
    const int64_t n = (world.begun - begun_) / fetches_of_expert;
    begun_ = world.begun;
    return n;
  }
  void arrive(int64_t experts) { world.arrived = arrived_ += experts * fetches_of_expert; }
  int64_t n_resident() const {
    int64_t n = 0;
    for (const int64_t layer : {1, 2})
      for (int64_t e = 0; e < 8; ++e) n += pool.resident(layer, e);
    return n;
  }

 private:
  int64_t begun_ = 0, arrived_ = 0;
};

}  // namespace

TEST_CASE("cache: no more moves in a step than arrives in half of its time") {
  Experts experts(ExpertPolicy::lru);
  CHECK(experts.n_resident() == kResident);
  CHECK(experts.step({4, 5, 6}, 5.2) == 2);  // of the six that are wanted
  CHECK(experts.n_resident() == kResident - 2);
  CHECK(experts.step({4, 5, 6}, 5.2) == 0);  // what is under way counts
  experts.arrive(1);
  CHECK(experts.step({4, 5, 6}, 5.2) == 1);
  CHECK(experts.n_resident() == kResident - 2);  // one came, and another one went
  CHECK(experts.step({4, 5, 6}, 10.4) == 3);     // five in all may be under way, and two are
  experts.arrive(5);
  CHECK(experts.step({4, 5, 6}, 10) == 0);  // all that are used are there
  CHECK(experts.n_resident() == kResident);
  for (const int64_t layer : {1, 2})
    for (const int64_t e : {4, 5, 6}) CHECK(experts.pool.resident(layer, e));
  CHECK(experts.cache.counts().swaps == 6);
}

TEST_CASE("cache: one expert may move in the shortest step, but not while another one does") {
  Experts experts(ExpertPolicy::lru);
  CHECK(experts.step({4, 5, 6}, 0) == 1);
  CHECK(experts.step({4, 5, 6}, 0) == 0);
  experts.arrive(1);
  CHECK(experts.step({4, 5, 6}, 0) == 1);
}

TEST_CASE("cache: after a long pause all that is wanted moves, and no more") {
  Experts experts(ExpertPolicy::lru);
  CHECK(experts.step({4, 5, 6}, 1e9) == 6);
}

TEST_CASE("cache: a copy that is seen to arrive faster raises what may move") {
  Experts experts(ExpertPolicy::lru);
  CHECK(experts.step({4}, 2.2) == 1);
  experts.arrive(1);  // within a tenth of the time that it had taken so far
  const double before = experts.cache.bandwidth();
  experts.step({4}, 0.1);
  CHECK(experts.cache.bandwidth() > 5 * before);
}

TEST_CASE("cache: the static policy moves nothing") {
  Experts experts(ExpertPolicy::fixed);
  for (int i = 0; i < 5; ++i) CHECK(experts.step({4, 5, 6}, 100) == 0);
  CHECK(experts.n_resident() == kResident);
}
