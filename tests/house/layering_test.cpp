// The house keeps its floors: includes are written from the root and point down or sideways, and only the command
// line prints. Scans the sources, so a wrong include fails even where it would compile.
#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include "tests/support/paths.h"

namespace fs = std::filesystem;

namespace {

struct Room {
  std::string path;                      // files below this folder ...
  std::vector<std::string> may_include;  // ... may include project headers that start with one of these
};

// The first row that matches a file counts, so the more special rooms come first.
const std::vector<Room> kRooms = {
    {"quant/", {"quant/"}},
    {"kernels/cpu/", {"quant/", "kernels/ops.h", "kernels/scratch.h", "kernels/watch.h", "kernels/cpu/"}},
    {"kernels/cuda/", {"quant/", "kernels/ops.h", "kernels/scratch.h", "kernels/cuda/"}},
    {"kernels/", {"quant/", "kernels/ops.h", "kernels/watch.h"}},
    {"convert/", {"quant/", "convert/"}},
    {"runtime/support/", {"quant/", "runtime/support/"}},
    {"runtime/jinja/", {"quant/error.h", "runtime/jinja/"}},
    {"runtime/tokenizer/", {"quant/", "runtime/support/", "runtime/tokenizer/"}},
    {"runtime/chat/", {"quant/", "runtime/support/", "runtime/jinja/", "runtime/tokenizer/", "runtime/chat/"}},
    {"runtime/model/", {"quant/", "kernels/ops.h", "runtime/support/", "runtime/model/"}},
    {"runtime/offload/",
     {"quant/", "kernels/ops.h", "kernels/watch.h", "runtime/support/", "runtime/model/", "runtime/offload/"}},
    {"runtime/engine/",
     {"quant/", "kernels/ops.h", "kernels/watch.h", "runtime/support/", "runtime/tokenizer/", "runtime/chat/",
      "runtime/model/", "runtime/offload/", "runtime/engine/"}},
    {"runtime/eval/",
     {"quant/", "kernels/ops.h", "kernels/cpu/backend.h", "kernels/cuda/backend.h", "runtime/support/",
      "runtime/jinja/", "runtime/tokenizer/", "runtime/model/", "runtime/offload/", "runtime/engine/",
      "runtime/eval/"}},
    {"runtime/cli/main.cpp", {"quant/error.h", "runtime/cli/"}},
    {"runtime/cli/",
     {"quant/", "kernels/ops.h", "kernels/cpu/backend.h", "kernels/cuda/backend.h", "runtime/", "convert/convert.h",
      "convert/recipe.h"}},
};

bool starts_with_any(const std::string& text, const std::vector<std::string>& prefixes) {
  for (const auto& prefix : prefixes)
    if (text.rfind(prefix, 0) == 0) return true;
  return false;
}

struct Source {
  std::string name;  // from the root
  std::vector<std::string> lines;
};

std::vector<Source> sources() {
  std::vector<Source> found;
  for (const char* top : {"quant", "kernels", "runtime", "convert"}) {
    const fs::path folder = hearth::test::source_dir() / top;
    REQUIRE_MESSAGE(fs::is_directory(folder), folder.string());
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") continue;
      Source source{fs::relative(entry.path(), hearth::test::source_dir()).generic_string(), {}};
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) source.lines.push_back(line);
      found.push_back(std::move(source));
    }
  }
  return found;
}

const Room& room_of(const std::string& name) {
  for (const auto& room : kRooms)
    if (name.rfind(room.path, 0) == 0) return room;
  FAIL("no room holds ", name);
  return kRooms.front();
}

// "" when the line includes nothing of the project, or something it may.
std::string include_fault(const std::string& file, const std::string& line) {
  static const std::regex include(R"re(^\s*#\s*include\s*["<]([^">]+)[">])re");
  std::smatch match;
  if (!std::regex_search(line, match, include)) return "";
  const std::string target = match[1];
  const bool quoted = line.find('"') != std::string::npos;
  if (quoted && (target.find('/') == std::string::npos || target.rfind("..", 0) == 0))
    return file + ": \"" + target + "\" is not written from the root";
  if (!starts_with_any(target, {"quant/", "kernels/", "runtime/", "convert/", "tests/"})) return "";
  if (starts_with_any(target, room_of(file).may_include)) return "";
  return file + " must not include " + target;
}

}  // namespace

TEST_CASE("includes point down or sideways and are written from the root") {
  const auto all = sources();
  CHECK(all.size() > 20);
  for (const auto& source : all)
    for (const auto& line : source.lines) {
      const std::string fault = include_fault(source.name, line);
      CHECK_MESSAGE(fault.empty(), fault);
    }
}

TEST_CASE("the scan catches what it is for") {
  CHECK(include_fault("quant/x.h", "#include \"runtime/engine/model.h\"") != "");
  CHECK(include_fault("kernels/cpu/x.cpp", "#include \"kernels/cuda/backend.h\"") != "");
  CHECK(include_fault("runtime/engine/model.cpp", "#include \"kernels/cpu/parallel.h\"") != "");
  CHECK(include_fault("runtime/model/forward.cpp", "#include \"runtime/offload/hybrid.h\"") != "");
  CHECK(include_fault("runtime/offload/x.h", "#include \"runtime/engine/model.h\"") != "");
  CHECK(include_fault("runtime/chat/x.h", "#include \"runtime/model/config.h\"") != "");
  CHECK(include_fault("runtime/jinja/x.cpp", "#include \"runtime/tokenizer/tokenizer.h\"") != "");
  CHECK(include_fault("convert/x.cpp", "#include \"runtime/model/config.h\"") != "");
  CHECK(include_fault("quant/x.h", "#include \"format.h\"") != "");
  CHECK(include_fault("quant/x.h", "#include \"../quant/format.h\"") != "");
  CHECK(include_fault("quant/x.h", "#include <quant/format.h>") == "");
  CHECK(include_fault("quant/x.h", "#include <runtime/engine/model.h>") != "");
  CHECK(include_fault("runtime/engine/model.cpp", "#include \"kernels/ops.h\"") == "");
  CHECK(include_fault("runtime/engine/model.cpp", "#include <vector>") == "");
}

TEST_CASE("headers are guarded, and only the command line prints") {
  const std::regex prints(R"(std::cout|std::cerr|\bprintf\s*\(|\bputs\s*\(|fmt::print|std::clog)");
  for (const auto& source : sources()) {
    if (source.name.ends_with(".h") || source.name.ends_with(".cuh")) {
      bool once = false;
      for (const auto& line : source.lines) once = once || line == "#pragma once";
      CHECK_MESSAGE(once, source.name, " has no #pragma once");
    }
    if (starts_with_any(source.name, {"runtime/cli/"})) continue;
    for (const auto& line : source.lines)
      CHECK_MESSAGE(!std::regex_search(line, prints), source.name, " prints: ", line);
  }
}
