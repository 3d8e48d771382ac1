// The largest of each row on the device, against sorting.
#include "kernels/cuda/largest.h"

#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/largest.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("cuda largest: the first of what sorting gives") {
  for (const LargestCase& c : largest_cases()) {
    CAPTURE(c.what);
    const DeviceArray<float> x(c.x);
    const DeviceArray<uint32_t> without(c.without);
    const auto check = [&] {
      const int64_t stride = c.k + 1;
      const DeviceArray<Entry> best(size_t(c.T * stride));
      const DeviceArray<std::byte> scratch(gpu::largest_scratch({.max_tokens = c.T}));
      gpu::largest(on_gpu(scratch), {x.data(), c.T, c.n}, without, {best.data(), c.T, c.k, stride});
      const std::vector<Entry> found = best.download();
      for (int64_t t = 0; t < c.T; ++t) {
        const Entry* const row = found.data() + t * stride;
        const std::vector<Entry> expected = sorted_largest(c, t);
        CHECK(std::equal(expected.begin(), expected.end(), row, same));
        CHECK(row[c.k].column == -1);  // not written
      }
    };
    if (c.n > 10000) {  // long, and the order of threads is that of the others
      check();
    } else {
      under_every_schedule(check);
    }
  }
}
