#include "runtime/grammar/token_masks.h"

#include <algorithm>

namespace hearth::grammar {
namespace {

constexpr size_t kMostKept = 1'024, kMostParts = 1'024;  // 16 MB each, for 129,280 tokens

}  // namespace

TokenMasks::TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> tokens)
    : tokens_(std::move(tokens)), start_(std::move(grammar)) {}

const TokenMask& TokenMasks::mask(const Matcher& matcher) {
  const GrammarState& state = matcher.state();
  const uint64_t hash = state.hash();
  const auto [begin, end] = kept_.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (it->second.state->same(state)) return it->second.mask;
  if (kept_.size() >= kMostKept) kept_.clear();
  if (parts_.size() >= kMostParts) parts_.clear();
  Kept made{state.clone(), TokenMask(tokens_->n_rows())};
  if (!state.dead()) state.allow_tokens(*tokens_, parts_, made.mask);
  if (state.may_end())
    for (const Token token : tokens_->ends()) made.mask.add(token);
  return kept_.emplace(hash, std::move(made))->second.mask;
}

bool TokenMasks::advance(Matcher& matcher, Token token) const {
  const auto& ends = tokens_->ends();
  if (std::find(ends.begin(), ends.end(), token) != ends.end()) return matcher.may_end();
  const std::string& bytes = tokens_->bytes(token);
  return !bytes.empty() && matcher.advance(bytes) == bytes.size();
}

}  // namespace hearth::grammar
