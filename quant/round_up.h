// The next multiple. Local to each file: the header is also compiled with instruction-set flags (kernels/cpu), and no
// inline function of such a file may be the copy that the linker keeps for all.
#pragma once

#include <type_traits>

namespace hearth {
namespace {

template <class T>
constexpr T round_up(T n, std::type_identity_t<T> multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace
}  // namespace hearth
