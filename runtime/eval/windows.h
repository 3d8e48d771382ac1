// A text's tokens in windows, each of which is run in an empty cache.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/support/token.h"

namespace hearth {

struct Windows {
  std::vector<Token> tokens;  // one window after the other
  int64_t size = 0;           // tokens of each

  int64_t count() const { return int64_t(tokens.size()) / size; }
  std::span<const Token> window(int64_t i) const { return std::span(tokens).subspan(size_t(i * size), size_t(size)); }
};

// Windows of n_ctx tokens; a rest shorter than that is dropped, unless it is all there is. `most` windows at most (0:
// all). `bos` is put in place of the first token of each. Throws Error(usage): fewer than 4 tokens in a window or in
// the text.
Windows cut_windows(std::span<const Token> tokens, int64_t n_ctx, int64_t most, std::optional<Token> bos);

}  // namespace hearth
