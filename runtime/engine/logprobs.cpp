#include "runtime/engine/logprobs.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "quant/error.h"
#include "runtime/engine/logit_row.h"

namespace hearth {

GeneratedToken with_logprobs(Token token, std::span<const float> logits, std::span<const Token> forbidden,
                             int n_likeliest) {
  LogitRow row;
  row.read(logits, forbidden);
  assert(row.has(token));
  const float best = row.best();
  require(best > kImpossible, ErrorKind::model, "no token can come: all {} logits are -inf or of forbidden tokens",
          logits.size());
  const double total = std::log(row.weigh(best, 1));
  // From the best one on, where a double's digits are exact: in float, logits far from zero would lose the logarithm's.
  const auto logprob = [&](float logit) { return float((double(logit) - best) - total); };

  GeneratedToken result{.token = token, .logprob = logprob(row[token])};
  if (n_likeliest <= 0) return result;
  std::vector<TokenLogit> likeliest = row.best_from(std::numeric_limits<float>::lowest(), size_t(n_likeliest));
  std::ranges::sort(likeliest, BetterLogit());
  for (const TokenLogit& t : likeliest) result.likeliest.push_back({t.token, logprob(t.logit)});
  return result;
}

}  // namespace hearth
