#include "runtime/tools/call_parser.h"

#include "runtime/tools/dsml_calls.h"
#include "runtime/tools/marked_calls.h"
#include "runtime/tools/tagged_calls.h"

namespace hearth {

std::unique_ptr<CallParser> make_call_parser(const CallGrammar& grammar) {
  switch (grammar.format) {
    case CallFormat::marked:
      return std::make_unique<MarkedCalls>(grammar.marks_are_tokens);
    case CallFormat::dsml:
      return std::make_unique<DsmlCalls>(grammar.names);
    case CallFormat::tagged:
      return std::make_unique<TaggedCalls>(grammar.names);
  }
  return nullptr;
}

}  // namespace hearth
