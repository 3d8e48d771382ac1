// From tokens to statements and expressions.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "runtime/jinja/ast.h"

namespace hearth::jinja {

struct ParsedTemplate {
  Block body;
  std::set<std::string, std::less<>> reads;  // names that are read where nothing in the template has set them yet
};

// Throws Error(model), "NAME: line 3: expected ..., found ..."; unknown tags, filters and tests are refused by name.
ParsedTemplate parse(std::string_view source, const std::string& name);

}  // namespace hearth::jinja
