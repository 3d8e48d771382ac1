// The two tables of filters.
#pragma once

#include <span>

#include "runtime/jinja/interpreter.h"

namespace hearth::jinja {

std::span<const Builtin> text_filters();
std::span<const Builtin> list_filters();

}  // namespace hearth::jinja
