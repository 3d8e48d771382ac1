#include "tests/kernels/cpu/avx2_row_header_kernels.h"

#include "kernels/cpu/avx2/engine_row.h"
#include "kernels/cpu/avx2/float_decoder.h"

namespace hearth::test {
namespace {

struct HeadedQ8_0 : Q8_0 {
  static constexpr int kHeader = 2;
  HEARTH_INLINE static __m256 scales(const uint8_t* row, const uint8_t* p, int n) {
    return _mm256_mul_ps(_mm256_set1_ps(half_to_float(row)), group_halves<Q8_0>(p, kScaleAt, n));
  }
};

struct HeadedQ6_K : Q6_K {
  static constexpr int kHeader = 2;
  HEARTH_INLINE static float d(const uint8_t* row, const uint8_t* p) {
    return half_to_float(row) * half_to_float(p + kD);
  }
};

template <class D>
constexpr Avx2Rows rows(FormatId id) {
  return {engine_row<D>(id, 5), decode_floats<D>};
}

}  // namespace

const Avx2Rows kHeadedQ8_0 = rows<HeadedQ8_0>(FormatId::q8_0), kPlainQ8_0 = rows<Q8_0>(FormatId::q8_0);
const Avx2Rows kHeadedQ6_K = rows<HeadedQ6_K>(FormatId::q6_k), kPlainQ6_K = rows<Q6_K>(FormatId::q6_k);

}  // namespace hearth::test
