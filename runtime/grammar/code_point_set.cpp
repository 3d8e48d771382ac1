#include "runtime/grammar/code_point_set.h"

#include <algorithm>

namespace hearth::grammar {

CodePointSet::CodePointSet(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end());
  for (const auto& [first, last] : ranges) {
    if (first > last) continue;
    if (!ranges_.empty() && first <= ranges_.back().second + 1)
      ranges_.back().second = std::max(ranges_.back().second, last);
    else
      ranges_.emplace_back(first, last);
  }
}

CodePointSet CodePointSet::all() {
  return CodePointSet({{0, 0xD7FF}, {0xE000, 0x10FFFF}});
}

bool CodePointSet::contains(uint32_t code_point) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), Range{code_point, UINT32_MAX});
  return after != ranges_.begin() && std::prev(after)->second >= code_point;
}

CodePointSet CodePointSet::united(const CodePointSet& other) const {
  std::vector<Range> both = ranges_;
  both.insert(both.end(), other.ranges_.begin(), other.ranges_.end());
  return CodePointSet(std::move(both));
}

CodePointSet CodePointSet::intersected(const CodePointSet& other) const {
  std::vector<Range> common;
  for (size_t i = 0, j = 0; i < ranges_.size() && j < other.ranges_.size();) {
    const Range a = ranges_[i], b = other.ranges_[j];
    if (std::max(a.first, b.first) <= std::min(a.second, b.second))
      common.emplace_back(std::max(a.first, b.first), std::min(a.second, b.second));
    a.second < b.second ? ++i : ++j;
  }
  return CodePointSet(std::move(common));
}

CodePointSet CodePointSet::complement() const {
  std::vector<Range> gaps;
  uint32_t from = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > from) gaps.emplace_back(from, first - 1);
    from = last + 1;
  }
  if (from <= 0x10FFFF) gaps.emplace_back(from, 0x10FFFF);
  return CodePointSet(std::move(gaps)).intersected(all());
}

}  // namespace hearth::grammar
