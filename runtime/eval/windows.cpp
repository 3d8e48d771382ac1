#include "runtime/eval/windows.h"

#include <algorithm>

#include "quant/error.h"

namespace hearth {

Windows cut_windows(std::span<const Token> tokens, int64_t n_ctx, int64_t most, std::optional<Token> bos) {
  require(n_ctx >= 4, ErrorKind::usage, "a window of {} tokens: expected at least 4", n_ctx);
  require(tokens.size() >= 4, ErrorKind::usage, "the text has {} tokens: expected at least 4", tokens.size());
  Windows out;
  out.size = std::min(n_ctx, int64_t(tokens.size()));
  int64_t n = int64_t(tokens.size()) / out.size;
  if (most > 0) n = std::min(n, most);
  out.tokens.assign(tokens.begin(), tokens.begin() + n * out.size);
  for (int64_t i = 0; bos && i < n; ++i) out.tokens[size_t(i * out.size)] = *bos;
  return out;
}

}  // namespace hearth
