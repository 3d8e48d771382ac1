// The tokens that may come next in a document.
#pragma once

#include "runtime/grammar/json_machine.h"
#include "runtime/grammar/token_masks.h"

namespace hearth::grammar {

void allow_tokens(const JsonMachine& machine, const JsonState& state, const TokenTrie& tokens, PartMasks& parts,
                  TokenMask& mask);

}  // namespace hearth::grammar
