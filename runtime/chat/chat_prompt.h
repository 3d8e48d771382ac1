// What a template rendered becomes the parts of a prompt: whose words may hold control tokens, and where remembered
// answers stand.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "runtime/jinja/template.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth {

// Whose words a piece is. Roles and numbers of calls are the program's, as good as the template's own.
struct Origin {
  static constexpr size_t kNoMessage = size_t(-1);
  size_t message = kNoMessage;  // index of the message whose words they are
  bool trusted = true;          // may hold control tokens
};

struct OriginPiece {
  std::string text;
  Origin origin;
};

// A message's answer as it was sampled.
struct RememberedAnswer {
  size_t message;
  std::vector<Token> tokens;  // without the closing eos
  bool made_calls = false;
};

// A remembered answer takes the place of the stretch that ends behind the message's last words and reads as its tokens
// do. The stretch holds only words of the template and of that message, so that nobody's words can imitate another's.
// Two liberties: of the blanks that the model wrote in front of the answer those that the template writes too count
// once; and a list of calls that the template leaves unclosed is closed, as the model closed it.
std::vector<PromptPart> prompt_parts(std::span<const OriginPiece> pieces, std::span<const RememberedAnswer> answers,
                                     const Tokenizer& tokenizer);

}  // namespace hearth
