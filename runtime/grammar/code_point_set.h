// Sets of Unicode code points as sorted ranges.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace hearth::grammar {

class CodePointSet {
 public:
  using Range = std::pair<uint32_t, uint32_t>;  // first and last
  CodePointSet() = default;
  explicit CodePointSet(std::vector<Range> ranges);  // in any order, overlapping or not

  static CodePointSet all();  // that a text may have: none of the surrogates

  bool empty() const { return ranges_.empty(); }
  bool contains(uint32_t code_point) const;
  CodePointSet united(const CodePointSet& other) const;
  CodePointSet intersected(const CodePointSet& other) const;
  CodePointSet complement() const;  // within all()
  const std::vector<Range>& ranges() const { return ranges_; }
  auto operator<=>(const CodePointSet&) const = default;

 private:
  std::vector<Range> ranges_;  // apart from one another
};

}  // namespace hearth::grammar
