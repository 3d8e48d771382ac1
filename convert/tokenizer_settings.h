// The small files beside tokenizer.json: which tokens begin and end a text, and the chat template.
#pragma once

#include <string>
#include <unordered_map>

#include "convert/tokenizer_json.h"

namespace hearth {

// Reads these files into `tokenizer`. `ids` are the ids of all tokens, by text. Throws Error(format) and Error(model)
// as parse_hf_tokenizer does.
void read_token_settings(const TokenizerTexts& texts, const std::unordered_map<std::string, int64_t>& ids,
                         HfTokenizer& tokenizer);

}  // namespace hearth
