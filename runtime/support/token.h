// What text becomes for a model.
#pragma once

#include <cstdint>

namespace hearth {

using Token = int32_t;  // an id of the vocabulary

}  // namespace hearth
