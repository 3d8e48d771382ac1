// tokenizer.json and tokenizer_config.json, written from what a GGUF file has of them.
#pragma once

#include <string>

#include "quant/gguf.h"

namespace hearth {

// The form that Hugging Face's library `tokenizers` reads: steps of the pre-tokenizer, vocabulary, merges, added
// tokens, byte-level decoding, and BOS in front of a text where the file asks for it. Throws as exported_vocabulary
// does.
std::string tokenizer_json(const GgufMetadata& metadata);

// Which tokens begin, end and fill, and the chat template; several, where the file has named ones besides
// (tokenizer.chat_template.NAME). The class is the one that takes tokenizer.json as it is: with LlamaTokenizerFast,
// which the published files name, versions of transformers 5 put another pre-tokenizer in its place (issue 45488
// there). Throws as exported_vocabulary does.
std::string tokenizer_config_json(const GgufMetadata& metadata);

}  // namespace hearth
