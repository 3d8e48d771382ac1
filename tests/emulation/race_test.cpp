// The race check: every planted race is found under every schedule, and none in right kernels. Linked with kernels that
// were compiled to show their accesses.
#include <doctest/doctest.h>

#include <memory>

#include "tests/emulation/race_check.h"
#include "tests/emulation/sample_runs.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;
using emulation::RaceCheck;

namespace {

void is_found(const std::function<bool()>& run, const char* words = "race in shared memory") {
  under_every_schedule([&] {
    std::string text;
    CHECK(outcome(run, &text) == Result::failed);
    CHECK_MESSAGE(text.find(words) != std::string::npos, text);
  });
}

}  // namespace

TEST_CASE("right kernels have no races") {
  REQUIRE(emulation::race_check);
  under_every_schedule([] {
    CHECK(scale_is_right(Fault::none));
    for (const int threads : {32, 256, 1024}) CHECK(row_sums_are_right(Fault::none, threads));
    CHECK(mirror_is_right(Fault::none));
    CHECK(product_is_right(Fault::none));
    CHECK(weighted_is_right(Fault::none));
  });
}

TEST_CASE("a missing barrier after a write") {
  is_found([] { return row_sums_are_right(Fault::no_barrier_after_write); });
}

TEST_CASE("a missing barrier before memory is used again") {
  is_found([] { return product_is_right(Fault::no_barrier_before_reuse); });
}

TEST_CASE("a wait for too few copies") {
  is_found([] { return product_is_right(Fault::weak_wait); });
}

TEST_CASE("a missing barrier of a warp") {
  is_found([] { return mirror_is_right(Fault::no_warp_barrier); });
}

TEST_CASE("what a kernel that begins early reads too early") {
  const char* const words = "reads what an earlier launch has written before it has waited";
  is_found([] { return weighted_is_right(Fault::early_read); }, words);
  is_found([] { return weighted_is_right(Fault::early_copy); }, words);
  CHECK(weighted_is_right(Fault::early_read, true));  // a kernel begins after the copies that were queued before it
}

TEST_CASE("what a kernel that begins early writes too early") {
  is_found([] { return weighted_is_right(Fault::early_write); },
           "writes global memory before it has waited for earlier launches");
}

TEST_CASE("a kernel that begins early and does not wait") {
  is_found([] { return weighted_is_right(Fault::no_wait); }, "has ended without waiting for earlier launches");
}

TEST_CASE("accesses outside of arrays and of device memory") {
  is_found([] { return row_sums_are_right(Fault::shared_overrun); }, "touches shared memory outside of its arrays");
  is_found([] { return scale_is_right(Fault::global_overrun); }, "device memory that is not allocated");
}

TEST_CASE("a vector at an address that it is not aligned to") {
  is_found([] { return scale_is_right(Fault::misaligned_vectors, 1000); },
           "reads 16 bytes at an address that is no multiple of 16");
}

TEST_CASE("what orders two accesses") {
  const auto check = std::make_unique<RaceCheck>();
  check->begin_block(64);
  const auto access = [&](int thread, size_t byte, RaceCheck::Access kind) {
    return check->access(thread, byte, 1, kind).empty();
  };
  using enum RaceCheck::Access;
  CHECK(access(0, 0, write));
  CHECK(access(0, 0, read));
  CHECK_FALSE(access(1, 0, read));
  check->warp_barrier(0, 0x3);  // lanes 0 and 1
  CHECK(access(1, 0, read));
  CHECK_FALSE(access(2, 0, read));   // was not there
  CHECK_FALSE(access(32, 0, read));  // another warp
  check->warp_barrier(0, 0x6);       // lane 1 tells lane 2 of lane 0
  CHECK(access(2, 0, write));
  CHECK_FALSE(access(0, 0, read));
  check->barrier();
  CHECK(access(32, 0, read));
  CHECK(access(0, 0, read));
  CHECK_FALSE(access(0, 0, write));
  CHECK(access(5, 1, atomic));
  CHECK(access(77, 1, atomic));
  CHECK_FALSE(access(5, 1, read));
  for (int lane = 0; lane < 32; lane++) CHECK(access(lane, 2, read));
  CHECK_FALSE(access(7, 2, write));
  check->warp_barrier(0, ~0u);
  CHECK(access(7, 2, write));
  CHECK(check->copy_issued(3, 8, 16).empty());
  check->barrier();
  CHECK_FALSE(access(3, 9, read));
  check->copy_landed(3, 8, 16);
  CHECK(access(3, 9, read));
  CHECK_FALSE(access(4, 9, read));
  check->barrier();
  CHECK(access(4, 9, read));
}
