// What tests ask of reports.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "runtime/eval/inspect.h"

namespace hearth::test {

// The value of the fact of that name.
inline std::string fact(const std::vector<Fact>& facts, const std::string& name) {
  for (const Fact& f : facts) {
    if (f.name == name) return f.value;
  }
  FAIL_CHECK("no fact ", name);
  return "";
}

}  // namespace hearth::test
