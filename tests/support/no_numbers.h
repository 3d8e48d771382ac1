// What is no logit.
#pragma once

#include <limits>

namespace hearth::test {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

}  // namespace hearth::test
