// main() of tests that run once per table of kernels. HEARTH_ISA names the table that `auto` must be; ends with 77,
// which CTest shows as skipped, where this processor cannot run it.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels/cpu/backend.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  if (const char* wanted = std::getenv("HEARTH_ISA")) {
    for (const hearth::CpuIsa& isa : hearth::cpu_isas()) {
      if (isa.name != std::string(wanted) || isa.available) continue;
      std::printf("SKIP: this processor cannot run the table %s\n", wanted);
      return kSkipped;
    }
    const std::string found = hearth::cpu_ops("auto").name;
    if (found != wanted) {
      std::printf("HEARTH_ISA=%s, but auto is %s\n", wanted, found.c_str());
      return 1;
    }
  }
  return doctest::Context(argc, argv).run();
}
