// Sets of numbers, closed under Boolean operations, and the automata over their texts, built while they are used.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::grammar {

using NumberSet = uint32_t;

constexpr NumberSet kNoNumber = 0, kAnyNumber = 1;

class NumberPool {
 public:
  NumberPool();
  ~NumberPool();

  // Texts are JSON numbers. Throw Refusal for what is too long to be computed with.
  NumberSet one_of(const std::vector<std::string>& texts);
  NumberSet at_least(std::string_view text, bool open);
  NumberSet at_most(std::string_view text, bool open);
  NumberSet multiples_of(std::string_view text);  // above 0
  NumberSet integers();                           // 1.0 and 1e2, too
  NumberSet integers_as_written();                // neither point nor exponent: draft 4
  NumberSet both(NumberSet a, NumberSet b);
  NumberSet either(NumberSet a, NumberSet b);
  NumberSet complement(NumberSet of);

  static constexpr int32_t kDead = -1;
  int32_t start(NumberSet set);
  int32_t step(int32_t state, uint8_t byte);  // kDead: no number of the set goes on like that
  bool accepts(int32_t state) const;          // the number may end here
  size_t size() const;                        // states

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A JSON number above 0.
bool is_positive(std::string_view number);
// The count that a JSON number stands for, 2 or 2.0; nullopt-like -1: it is none, or above 2^31.
int64_t count_of(std::string_view number);

}  // namespace hearth::grammar
