// Values as text: as Python's str() and repr() give them, and as JSON.
#pragma once

#include "runtime/jinja/value.h"

namespace hearth::jinja {

// str(value): of a string itself; of undefined, nothing.
Text to_text(Budget&, const Value&);
// repr(value), appended.
void append_repr(Budget&, Text& out, const Value&);
// Python's shortest decimal text that gives the same number back: 1.0, 1e+16, inf.
std::string float_text(double);

// As transformers sets up json.dumps.
struct JsonStyle {
  bool ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // with `indent` before each item, once per level
  Text indent;
  std::string item_separator = ", ", key_separator = ": ";
};
Text to_json(Budget&, const Value&, const JsonStyle&);

}  // namespace hearth::jinja
