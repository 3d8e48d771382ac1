// A fuzz target: one file that defines these two functions for one reader. See CMakeLists.txt for how it is built.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

namespace hearth::test {

// Reads the input as a stranger's file. True: it was taken; false: it was refused with an Error. Anything else, such as
// another exception, a failed expect() or a sanitizer's report, is a find.
bool fuzz_one(std::span<const std::byte> input);

// Inputs that are taken, for the mutations to begin with. Files in tests/fuzz/seeds/TARGET/ are used besides.
std::vector<std::string> fuzz_seeds();

inline void expect(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "expected: %s\n", what);
  std::abort();
}

}  // namespace hearth::test
