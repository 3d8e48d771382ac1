// libFuzzer's entry into a target.
#include <cstdint>

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hearth::test::fuzz_one(std::as_bytes(std::span(data, size)));
  return 0;
}
