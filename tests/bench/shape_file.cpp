// For people: build/tests/shape_file lite|v2|v3 RECIPE OUT.gguf writes a file with a published model's true shapes and
// nothing in them, a header and a hole: what `hearth plan` and `inspect` need to tell sizes and speeds of a model that
// is not at hand. tests/bench/model_table.sh makes the README's table with it.
#include <cstdio>
#include <exception>
#include <string>

#include "tests/runtime/offload/shape_file.h"

int main(int argc, char** argv) {
  using hearth::test::TrueShape;
  const std::string name = argc == 4 ? argv[1] : "";
  if (name != "lite" && name != "v2" && name != "v3") {
    std::fprintf(stderr, "usage: shape_file lite|v2|v3 RECIPE OUT.gguf\n");
    return 2;
  }
  try {
    const TrueShape shape = name == "lite" ? TrueShape::lite() : name == "v2" ? TrueShape::v2() : TrueShape::v3();
    hearth::test::ShapeFile(shape, argv[2]).write(argv[3]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "shape_file: %s\n", error.what());
    return 1;
  }
}
