// Prompts without a conversation: a text to be continued, or two with something missing between them.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace hearth {

// The text's tokens, from BOS on where the model wants one.
//   special: whether control tokens in the text are read as such
std::vector<Token> text_to_continue(const Tokenizer& tokenizer, std::string_view text, bool special);

// The marks of the format below, for people.
inline constexpr std::string_view kFillMarks = "<｜fim▁begin｜>, <｜fim▁hole｜>, <｜fim▁end｜>";

// What stands between a text and what follows it is to be written (the format of Coder-V2 and V2.5, as their READMEs
// give it). Nothing: the vocabulary has no such marks.
std::optional<std::vector<Token>> text_to_fill(const Tokenizer& tokenizer, std::string_view before,
                                               std::string_view after, bool special);

}  // namespace hearth
