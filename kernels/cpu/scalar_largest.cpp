// The k largest of each row. Rows are kept in order while columns come, which costs nothing for most columns: few are
// larger than the k-th largest so far.
#include <cassert>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar.h"

namespace hearth::scalar {
namespace {

bool stands_before(const Entry& a, const Entry& b) {
  if (std::isnan(a.value) != std::isnan(b.value)) return std::isnan(a.value);
  if (!std::isnan(a.value) && a.value != b.value) return a.value > b.value;
  return a.column < b.column;
}

}  // namespace

void largest(const Exec& exec, Mat<const float> x, const uint32_t* without, Mat<Entry> best) {
  assert(best.rows == x.rows && best.cols <= x.cols && best.cols <= kMostLargest);
  const int64_t k = best.cols;
  if (k == 0) return;
  parallel_for(exec.n_threads, x.rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      Entry* const kept = best.row(t);
      for (int64_t c = 0; c < x.cols; ++c) {
        const bool left_out = without[c / 32] >> (c % 32) & 1;
        const Entry entry = {int32_t(c), left_out ? -std::numeric_limits<float>::infinity() : x.row(t)[c]};
        int64_t place = std::min(c, k);
        if (place == k && !stands_before(entry, kept[k - 1])) continue;
        for (place = std::min(place, k - 1); place > 0 && stands_before(entry, kept[place - 1]); --place)
          kept[place] = kept[place - 1];
        kept[place] = entry;
      }
    }
  });
}

}  // namespace hearth::scalar
