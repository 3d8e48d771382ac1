// Python's two ways of filling in a string: '%s' % value and '{}'.format(value).
#pragma once

#include "runtime/jinja/interpreter.h"

namespace hearth::jinja {

// `values`: a tuple, a dict for %(name)s, or a single value.
// Markup stays markup, and what fills it in is escaped.
Value format_percent(Interpreter&, const Value& format, const Value& values);
Value format_braces(Interpreter&, const Value& format, const Arguments& arguments);

}  // namespace hearth::jinja
