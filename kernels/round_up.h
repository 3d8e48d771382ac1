// The next multiple. Local to each file (as kernels/scratch.h says).
#pragma once

#include <cstdint>

namespace hearth {
namespace {

constexpr int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace
}  // namespace hearth
