// Whether this is a build with AddressSanitizer, where tests take ten times as long: cases that repeat the same lines
// of the program with more models or numbers run fewer of them there, and no time is checked.
#pragma once

namespace hearth::test {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace hearth::test
