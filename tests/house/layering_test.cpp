// The house keeps its floors: includes are written from the root and point down or sideways, and only the command
// line prints. Scans the sources, so a wrong include fails even where it would compile.
#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
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
    {"kernels/cpu/",
     {"quant/", "kernels/awake.h", "kernels/device.h", "kernels/ops.h", "kernels/rounding.h", "kernels/scratch.h",
      "kernels/watch.h", "kernels/cpu/"}},
    {"kernels/cuda/host/",
     {"quant/", "kernels/device.h", "kernels/ops.h", "kernels/cuda/kernel.h", "kernels/cuda/queue.h",
      "kernels/cuda/host/"}},
    {"kernels/cuda/matmul/",
     {"quant/", "kernels/ops.h", "kernels/rounding.h", "kernels/scratch.h", "kernels/cuda/kernel.h",
      "kernels/cuda/queue.h", "kernels/cuda/block.cuh", "kernels/cuda/formats.cuh", "kernels/cuda/scratch_sizes.h",
      "kernels/cuda/host/queue_of.h", "kernels/cuda/matmul/",
      // what products do beside them for one token: merge attention's pieces, store a latent
      "kernels/cuda/attention/mla_pieces.h", "kernels/cuda/attention/latent_row.cuh"}},
    {"kernels/cuda/attention/",
     {"quant/", "kernels/ops.h", "kernels/scratch.h", "kernels/cuda/kernel.h", "kernels/cuda/queue.h",
      "kernels/cuda/block.cuh", "kernels/cuda/formats.cuh", "kernels/cuda/scratch_sizes.h",
      "kernels/cuda/host/queue_of.h", "kernels/cuda/attention/"}},
    {"kernels/cuda/", {"quant/", "kernels/device.h", "kernels/ops.h", "kernels/scratch.h", "kernels/cuda/"}},
    {"kernels/", {"quant/", "kernels/listening.h", "kernels/ops.h", "kernels/watch.h"}},
    {"convert/", {"quant/", "convert/"}},
    {"runtime/support/", {"quant/", "runtime/support/"}},
    {"runtime/hub/", {"quant/error.h", "quant/partial_file.h", "runtime/support/", "runtime/hub/"}},
    {"runtime/jinja/", {"quant/error.h", "runtime/jinja/"}},
    {"runtime/tokenizer/", {"quant/", "runtime/support/", "runtime/tokenizer/"}},
    {"runtime/grammar/", {"quant/error.h", "runtime/support/", "runtime/tokenizer/tokenizer.h", "runtime/grammar/"}},
    {"runtime/tools/", {"runtime/support/held_back.h", "runtime/tools/"}},
    {"runtime/chat/",
     {"quant/", "runtime/support/", "runtime/jinja/", "runtime/tokenizer/", "runtime/tools/", "runtime/chat/"}},
    {"runtime/model/", {"quant/", "kernels/device.h", "kernels/ops.h", "runtime/support/", "runtime/model/"}},
    {"runtime/offload/",
     {"quant/", "kernels/awake.h", "kernels/device.h", "kernels/ops.h", "kernels/watch.h", "runtime/support/",
      "runtime/model/", "runtime/offload/"}},
    {"runtime/engine/load",
     {"quant/", "kernels/device.h", "kernels/ops.h", "kernels/cpu/backend.h", "kernels/cuda/backend.h",
      "runtime/support/", "runtime/tokenizer/", "runtime/model/", "runtime/offload/", "runtime/engine/"}},
    {"runtime/engine/",
     {"quant/", "kernels/device.h", "kernels/listening.h", "kernels/ops.h", "kernels/watch.h", "runtime/support/",
      "runtime/tokenizer/", "runtime/tools/", "runtime/grammar/", "runtime/chat/", "runtime/model/", "runtime/offload/",
      "runtime/engine/"}},
    {"runtime/eval/",
     {"quant/", "kernels/device.h", "kernels/listening.h", "kernels/ops.h", "kernels/cpu/backend.h", "runtime/support/",
      "runtime/jinja/", "runtime/tokenizer/", "runtime/model/", "runtime/offload/", "runtime/engine/",
      "runtime/eval/"}},
    {"runtime/server/http", {"quant/error.h", "runtime/server/http"}},
    {"runtime/server/",
     {"quant/", "runtime/support/", "runtime/jinja/", "runtime/tokenizer/", "runtime/tools/", "runtime/chat/",
      "runtime/engine/", "runtime/server/"}},
    {"runtime/cli/main.cpp", {"quant/error.h", "runtime/cli/"}},
    {"runtime/cli/",
     {"quant/", "kernels/ops.h", "kernels/cpu/backend.h", "kernels/cuda/backend.h", "runtime/", "convert/convert.h",
      "convert/export/export.h", "convert/export/format.h", "convert/making_options.h", "convert/quantize.h",
      "convert/recipe.h", "convert/shard_source.h"}},
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

// What the line includes; "": nothing.
std::string included(const std::string& line) {
  static const std::regex include(R"re(^\s*#\s*include\s*["<]([^">]+)[">])re");
  std::smatch match;
  return std::regex_search(line, match, include) ? match[1].str() : "";
}

// "" when the line includes nothing of the project, or something it may.
std::string include_fault(const std::string& file, const std::string& line) {
  const std::string target = included(line);
  if (target.empty()) return "";
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

using Graph = std::map<std::string, std::set<std::string>>;

// Who can be reached from each node.
Graph reachable(const Graph& graph) {
  Graph all = graph;
  for (const auto& [node, _] : graph) {
    std::vector<std::string> open(all[node].begin(), all[node].end());
    while (!open.empty()) {
      const std::string next = open.back();
      open.pop_back();
      const auto arrows = graph.find(next);
      if (arrows == graph.end()) continue;
      for (const std::string& target : arrows->second)
        if (all[node].insert(target).second) open.push_back(target);
    }
  }
  return all;
}

std::vector<std::string> in_circles(const Graph& graph) {
  std::vector<std::string> found;
  for (const auto& [node, targets] : reachable(graph))
    if (targets.contains(node)) found.push_back(node);
  return found;
}

TEST_CASE("no file includes itself by way of others; what the rooms of runtime/ see of one another") {
  Graph files, rooms;
  std::map<std::pair<std::string, std::string>, int> arrows;
  const auto room = [](const std::string& file) {
    return file.substr(0, file.find('/', std::string("runtime/").size()));
  };
  for (const auto& source : sources()) {
    for (const auto& line : source.lines) {
      const std::string target = included(line);
      if (!starts_with_any(target, {"quant/", "kernels/", "runtime/", "convert/"})) continue;
      files[source.name].insert(target);
      if (!source.name.starts_with("runtime/") || !target.starts_with("runtime/")) continue;
      if (room(source.name) == room(target)) continue;
      rooms[room(source.name)].insert(room(target));
      ++arrows[{room(source.name), room(target)}];
    }
  }
  for (const auto& [ends, n] : arrows) MESSAGE(ends.first, " -> ", ends.second, ": ", n, " includes");
  const auto files_in_circles = in_circles(files), rooms_in_circles = in_circles(rooms);
  MESSAGE(rooms.size(), " rooms that look at others, ", arrows.size(), " arrows, in circles: ", rooms_in_circles.size(),
          " rooms, ", files_in_circles.size(), " files");
  CHECK(rooms.size() >= 6);
  CHECK(rooms_in_circles.empty());
  for (const std::string& file : files_in_circles) CHECK_MESSAGE(false, file, " includes itself by way of others");
  CHECK(in_circles({{"a", {"b"}}, {"b", {"c"}}, {"c", {"b"}}}) == std::vector<std::string>{"b", "c"});
}

TEST_CASE("the scan catches what it is for") {
  CHECK(include_fault("quant/x.h", "#include \"runtime/engine/model.h\"") != "");
  CHECK(include_fault("kernels/cpu/x.cpp", "#include \"kernels/cuda/backend.h\"") != "");
  CHECK(include_fault("kernels/cuda/host/x.cu", "#include \"kernels/cuda/matmul/matmul_vec.h\"") != "");
  CHECK(include_fault("kernels/cuda/matmul/x.cu", "#include \"kernels/cuda/attention/rope.h\"") != "");
  CHECK(include_fault("runtime/engine/model.cpp", "#include \"kernels/cpu/parallel.h\"") != "");
  CHECK(include_fault("runtime/engine/model.cpp", "#include \"kernels/cuda/backend.h\"") != "");
  CHECK(include_fault("runtime/engine/load.cpp", "#include \"kernels/cuda/backend.h\"") == "");
  CHECK(include_fault("runtime/engine/load.cpp", "#include \"runtime/eval/calibration.h\"") != "");
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
