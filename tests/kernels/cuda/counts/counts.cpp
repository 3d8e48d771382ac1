// cuda_counts formats|steps: prints what the CUDA kernels do, counted in emulation. docs/counts.md says how to read it.
#include <cstdio>
#include <exception>
#include <string>

#include "tests/emulation/race_check.h"
#include "tests/kernels/cuda/counts/counts.h"

int main(int argc, char** argv) {
  const std::string table = argc == 2 ? argv[1] : "";
  if (table != "formats" && table != "steps") {
    std::fprintf(stderr, "usage: cuda_counts formats|steps\n");
    return 2;
  }
  if (!hearth::emulation::race_check) {
    std::fprintf(stderr, "cuda_counts: these kernels were not compiled to show their accesses\n");
    return 2;
  }
  try {
    // Which loads are left in a kernel depends on who compiled it.
    std::printf("# by GCC %d\n", __GNUC__);
    table == "formats" ? hearth::test::count_formats() : hearth::test::count_steps();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_counts: %s\n", error.what());
    return 1;
  }
}
