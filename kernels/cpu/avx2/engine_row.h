// A format's row in the table of kernels.
#pragma once

#include "kernels/cpu/avx2/matmul_tile.h"
#include "kernels/cpu/avx2/matmul_vec.h"

namespace hearth {
namespace {

template <class D>
constexpr FormatEngine engine_row(FormatId id, int64_t panels_from) {
  return {id,
          Input::x8,
          Input::x8,
          {multiply_few<D, 1>, multiply_few<D, 2>, multiply_few<D, 4>},
          multiply_panels<D>,
          panels_from};
}

}  // namespace
}  // namespace hearth
