// Kernels compute what they should under every schedule, and planted faults show without any sanitizer.
#include <doctest/doctest.h>

#include "tests/emulation/died.h"
#include "tests/emulation/fiber.h"
#include "tests/emulation/sample_runs.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Under how many of the schedules `run` does not give the right result.
int caught(const std::function<bool()>& run) {
  int n = 0;
  under_every_schedule([&] { n += outcome(run) != Result::right; });
  return n;
}

// What the device says of a run that fails.
std::string failure_of(const std::function<bool()>& run) {
  std::string text;
  CHECK(outcome(run, &text) == Result::failed);
  return text;
}

}  // namespace

TEST_CASE("right kernels are right under every schedule") {
  under_every_schedule([] {
    CHECK(scale_is_right(Fault::none));
    for (const int threads : {32, 64, 256, 1024}) CHECK(row_sums_are_right(Fault::none, threads));
    CHECK(mirror_is_right(Fault::none));
    CHECK(product_is_right(Fault::none));
  });
}

TEST_CASE("some schedule shows a missing barrier after a write") {
  CHECK(caught([] { return row_sums_are_right(Fault::no_barrier_after_write); }) > 0);
}

TEST_CASE("some schedule shows a missing barrier before memory is used again") {
  CHECK(caught([] { return product_is_right(Fault::no_barrier_before_reuse); }) > 0);
}

TEST_CASE("lazy copies show a wait for too few of them") {
  CHECK(caught([] { return product_is_right(Fault::weak_wait); }) >= 3);
}

TEST_CASE("every schedule shows a missing barrier of a warp") {
  CHECK(caught([] { return mirror_is_right(Fault::no_warp_barrier); }) == 6);
}

TEST_CASE("every schedule shows a sum with a lane that has ended") {
  CHECK(caught([] { return row_sums_are_right(Fault::ended_lane); }) == 6);
}

TEST_CASE("what is never right fails: threads at different barriers, deadlocks, copies to beyond shared memory") {
  under_every_schedule([] {
    const std::string divergent = failure_of([] { return row_sums_are_right(Fault::divergent_barrier); });
    CHECK_MESSAGE(divergent.find("__syncthreads") != std::string::npos, divergent);
    const std::string stuck = failure_of([] { return row_sums_are_right(Fault::deadlock); });
    CHECK_MESSAGE(stuck.find("deadlock") != std::string::npos, stuck);
    CHECK_MESSAGE(stuck.find("samples.cu:") != std::string::npos, stuck);
  });
  const std::string small = failure_of([] { return product_is_right(Fault::small_dynamic_shared); });
  CHECK_MESSAGE(small.find("outside shared memory") != std::string::npos, small);
  CHECK(row_sums_are_right(Fault::none));  // and the device can go on
}

TEST_CASE("OS threads share the blocks of a large grid, and its failure") {
  const emulation::Settings before = emulation::settings();
  emulation::settings().os_threads = 3;
  for (int i = 0; i < 3; i++) {
    CHECK(scale_is_right(Fault::none, 400000, 32));
    CHECK(mirror_is_right(Fault::none, 8000));
    CHECK(outcome([] { return mirror_is_right(Fault::too_many_lanes, 8000); }) == Result::failed);
  }
  emulation::settings() = before;
}

TEST_CASE("a failed kernel breaks the device until it is reset") {
  CHECK_THROWS(row_sums_are_right(Fault::deadlock));
  void* p = nullptr;
  CHECK(cudaStreamSynchronize(nullptr) == cudaErrorLaunchFailure);
  CHECK(cudaMalloc(&p, 16) == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  emulation::reset();
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("launches that no GPU of ours could run are refused") {
  const auto nothing = [] {};
  const auto launched = [&](dim3 grid, dim3 block, size_t shared_bytes) {
    return emulation::enqueue_launch(&nothing, grid, block, shared_bytes, nullptr, nothing, "k");
  };
  CHECK(launched(1, 1025, 0) == cudaErrorInvalidConfiguration);
  CHECK(launched(0, 32, 0) == cudaErrorInvalidConfiguration);
  CHECK(launched(dim3(1, 65536), 32, 0) == cudaErrorInvalidConfiguration);
  CHECK(launched(1, 32, 48 * 1024 + 1) == cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(&nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 99 * 1024) == cudaSuccess);
  CHECK(launched(1, 32, 99 * 1024 + 1) == cudaErrorInvalidValue);
  CHECK(launched(1, 32, 99 * 1024) == cudaSuccess);
  emulation::reset();
}

TEST_CASE("host code that follows a device pointer dies, and is told why") {
  const DeviceArray<float> x(std::vector<float>{1, 2, 3});
  const Died died = dies([&] { return *static_cast<volatile float*>(x.data()) == 1; });
  CHECK(died.badly);
  CHECK_MESSAGE(died.said.find("host code touched device memory") != std::string::npos, died.said);
}

#if !HEARTH_EMULATION_ASAN
TEST_CASE("undefined behaviour ends the program, which says where") {
  const Died died = dies([] { return row_sums_are_right(Fault::shared_overrun); });
  CHECK(died.badly);
  CHECK_MESSAGE(died.said.find("kernel row_sums") != std::string::npos, died.said);
  CHECK_MESSAGE(died.said.find("undefined behaviour") != std::string::npos, died.said);
}
#endif

#if HEARTH_EMULATION_ASAN
TEST_CASE("sanitizers see what lies outside an array") {
  const struct {
    const char* message;
    std::function<bool()> run;
  } faults[] = {
      {"out of bounds", [] { return row_sums_are_right(Fault::shared_overrun); }},
      {"use-after-poison", [] { return scale_is_right(Fault::global_overrun); }},
      {"misaligned address", [] { return scale_is_right(Fault::misaligned_vectors, 1000); }},
  };
  for (const auto& fault : faults) {
    const Died died = dies(fault.run);
    CHECK(died.badly);
    CHECK_MESSAGE(died.said.find(fault.message) != std::string::npos, died.said);
  }
}
#endif
