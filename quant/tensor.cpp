#include "quant/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <span>

namespace hearth {

std::string Shape::text() const {
  return fmt::format("[{}]", fmt::join(std::span(dim).first(size_t(rank)), ", "));
}

}  // namespace hearth
