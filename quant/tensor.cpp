#include "quant/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace hearth {

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < rank; ++i) out += (i ? ", " : "") + std::to_string(dim[size_t(i)]);
  return out + "]";
}

std::string format_counts(std::span<const Tensor* const> tensors) {
  std::vector<std::pair<const Format*, size_t>> counts;
  for (const Tensor* tensor : tensors) {
    const auto known = std::ranges::find(counts, tensor->format, &std::pair<const Format*, size_t>::first);
    known == counts.end() ? void(counts.emplace_back(tensor->format, 1)) : void(++known->second);
  }
  std::ranges::stable_sort(counts, std::greater<>(), &std::pair<const Format*, size_t>::second);
  std::string out;
  for (const auto& [format, count] : counts)
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", count, format->name);
  return out;
}

}  // namespace hearth
