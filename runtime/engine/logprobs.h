// How likely the model takes tokens to be.
#pragma once

#include <span>

#include "runtime/engine/generation.h"

namespace hearth {

// The token with the natural logarithm of its probability, and the n_likeliest tokens with theirs, the likeliest first,
// of equal ones the lowest id; fewer where others cannot come. It is the model's own distribution, whatever the sampler
// makes of it, but over the tokens that are not forbidden: rows of the head that no text has are none of the model's.
// The logarithm of what cannot come is -inf. Within 1e-6 of the truth, and of a unit in the last place.
//   logits [V], the token among them; forbidden as in Sampler::forbid
// Throws Error(model): a logit that is NaN or +inf; all are -inf or of forbidden tokens.
GeneratedToken with_logprobs(Token token, std::span<const float> logits, std::span<const Token> forbidden,
                             int n_likeliest);

}  // namespace hearth
