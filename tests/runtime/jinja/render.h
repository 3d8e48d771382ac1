// Rendering, as the tests of the interpreter want it.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/jinja/template.h"
#include "tests/support/paths.h"

namespace hearth::test {

using Json = nlohmann::ordered_json;

inline std::string joined(const std::vector<jinja::Piece>& pieces) {
  std::string text;
  for (const auto& piece : pieces) text += piece.text;
  return text;
}

// Every string of the variables has a source of its own, from 1.
inline jinja::Variables variables_of(const Json& values) {
  jinja::Variables variables;
  int source = 1;
  for (const auto& [name, value] : values.items()) source += variables.set_numbered(name, value, source) + 1;
  return variables;
}

inline std::vector<jinja::Piece> pieces_of(const std::string& source, const Json& values = Json::object(),
                                           const jinja::Limits& limits = {}) {
  return jinja::Template(source, "test").render(variables_of(values), limits);
}

inline std::string render(const std::string& source, const Json& values = Json::object()) {
  return joined(pieces_of(source, values));
}

inline std::string file_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline Json jinja_cases() {
  return Json::parse(file_text(source_dir() / "tests/golden/jinja_cases.json"));
}

}  // namespace hearth::test
