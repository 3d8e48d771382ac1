#include "runtime/tools/call_parser.h"

#include "runtime/tools/dsml_calls.h"
#include "runtime/tools/marked_calls.h"
#include "runtime/tools/tagged_calls.h"

namespace hearth {

std::unique_ptr<CallParser> make_call_parser(const CallSyntax& syntax) {
  switch (syntax.format) {
    case CallFormat::marked:
      return std::make_unique<MarkedCalls>(syntax.marks_are_tokens);
    case CallFormat::dsml:
      return std::make_unique<DsmlCalls>(syntax.names);
    case CallFormat::tagged:
      return std::make_unique<TaggedCalls>(syntax.names);
  }
  return nullptr;
}

}  // namespace hearth
