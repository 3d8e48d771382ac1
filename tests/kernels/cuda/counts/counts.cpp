// cuda_counts attention|formats|steps|tiles: prints what the CUDA kernels do, counted in emulation. docs/counts.md says
// how to read it.
#include <cstdio>
#include <exception>
#include <map>
#include <string>

#include "tests/emulation/race_check.h"
#include "tests/kernels/cuda/counts/counts.h"

int main(int argc, char** argv) {
  const std::map<std::string, void (*)()> tables = {{"attention", hearth::test::count_attention},
                                                    {"formats", hearth::test::count_formats},
                                                    {"steps", hearth::test::count_steps},
                                                    {"tiles", hearth::test::count_tiles}};
  const auto table = tables.find(argc == 2 ? argv[1] : "");
  if (table == tables.end()) {
    std::fprintf(stderr, "usage: cuda_counts attention|formats|steps|tiles\n");
    return 2;
  }
  if (!hearth::emulation::race_check) {
    std::fprintf(stderr, "cuda_counts: these kernels were not compiled to show their accesses\n");
    return 2;
  }
  try {
    // Which loads are left in a kernel depends on who compiled it.
    std::printf("# by GCC %d\n", __GNUC__);
    table->second();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_counts: %s\n", error.what());
    return 1;
  }
}
