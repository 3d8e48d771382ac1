// What a schema or a grammar cannot have, said with the place where it stands.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "quant/error.h"

namespace hearth::grammar {

// Thrown while compiling: the text is not a schema or grammar, or asks for what cannot be honoured.
class Refusal : public Error {
 public:
  // `where`: a JSON pointer (RFC 6901) into the schema, "" its root; for a grammar "line N".
  Refusal(std::string where, const std::string& why)
      : Error(ErrorKind::usage, fmt::format("{}: {}", where.empty() ? "the schema" : where, why)),
        where(std::move(where)),
        why(why) {}
  std::string where, why;
};

}  // namespace hearth::grammar
