#include "quant/tensor.h"

namespace hearth {

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < rank; ++i) out += (i ? ", " : "") + std::to_string(dim[size_t(i)]);
  return out + "]";
}

}  // namespace hearth
