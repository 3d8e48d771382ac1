// A format's row in the table of kernels.
#pragma once

#include "kernels/cpu/avx512/matmul_once.h"
#include "kernels/cpu/avx512/matmul_tile.h"
#include "kernels/cpu/avx512/matmul_vec.h"

namespace hearth {
namespace {

#ifdef __AVX512VNNI__
constexpr bool kVnni = true;
#else
constexpr bool kVnni = false;
#endif

template <class D>
void multiply_some_or_many(const PanelCall& c) {
  if constexpr (kVnni) {
    if (c.n_tokens <= kOnceTokens) return multiply_some<D>(c);
  }
  multiply_panels<D>(c);
}

// Where panels begin was measured with VNNI (cold weights, tests/bench/ops_bench.cpp), where multiply_some does it from
// 3 tokens on with most formats, and without (tests/bench/switch_bench.cpp).
template <class D>
constexpr FormatEngine engine_row(FormatId id, int64_t with_vnni = 3, int64_t without = 6) {
  return {id,
          Input::x8,
          Input::x8,
          {multiply_rows<D, 1>, multiply_rows<D, 2>, multiply_rows<D, 4>},
          multiply_some_or_many<D>,
          kVnni ? with_vnni : without};
}

}  // namespace
}  // namespace hearth
