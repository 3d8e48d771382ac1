// Python's two ways of filling in a string: '%s' % value and '{}'.format(value).
#pragma once

#include "runtime/jinja/interpreter.h"

namespace hearth::jinja {

// `values`: a tuple, a dict for %(name)s, or a single value.
Value format_percent(Interpreter&, const Text& format, const Value& values);
Value format_braces(Interpreter&, const Text& format, const Arguments& arguments);

}  // namespace hearth::jinja
