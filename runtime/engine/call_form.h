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
    std::string parameters = {};  // a JSON Schema of its arguments; "": whatever the model writes as an object
  };
  CallSyntax syntax;
  std::vector<Function> functions;
  bool one_only = false;
  bool text_too = false;  // free text may stand in front of the calls, or instead
};

// One call or, unless one_only, more of them. Throws grammar::Refusal for a schema that cannot be kept to.
std::shared_ptr<const grammar::Grammar> compile_calls(const CallForm& form);

}  // namespace hearth
