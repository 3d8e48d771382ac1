// The largest of each row, against sorting.
#include "tests/kernels/largest.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("largest: the first of what sorting gives, with as many threads as there are") {
  for (const Ops* ops : available_tables()) {
    CAPTURE(name_of(ops));
    for (const LargestCase& c : largest_cases()) {
      CAPTURE(c.what);
      for (const int n_threads : {1, 3}) {
        std::vector<Entry> best(size_t(c.T * (c.k + 1)), Entry{-7, 0});  // a column more than is to be written
        ops->largest({n_threads, {}}, c.rows(), c.without.data(), {best.data(), c.T, c.k, c.k + 1});
        for (int64_t t = 0; t < c.T; ++t) {
          const Entry* const row = best.data() + t * (c.k + 1);
          const std::vector<Entry> expected = sorted_largest(c, t);
          CHECK(std::equal(expected.begin(), expected.end(), row, same));
          CHECK(row[c.k].column == -7);
        }
      }
    }
  }
}
