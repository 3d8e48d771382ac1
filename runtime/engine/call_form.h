// Calls that an answer is bound to: in the way its model writes them, of functions that there are, with arguments that
// satisfy their schemas.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/tools/call_parser.h"

namespace hearth {

namespace grammar {
class Grammar;
}

struct CallForm {
  struct Function {
    std::string name;
    std::string parameters = {};  // a JSON Schema of its arguments; "": any object
  };
  CallSyntax syntax;
  std::vector<Function> functions;
  bool one_only = false;
};

// One call or, unless one_only, more of them. Throws grammar::Refusal for a schema that cannot be kept to and
// Error(usage) for a format whose calls cannot be bound (V3.2's).
std::shared_ptr<const grammar::Grammar> compile_calls(const CallForm& form);

}  // namespace hearth
