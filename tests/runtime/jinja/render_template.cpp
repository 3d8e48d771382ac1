// Renders templates for a script to compare: reads a JSON object from each line of standard input,
//   {"template": TEXT, "variables": {...}, "now": SECONDS}
// and writes one for each: {"text": ..., "pieces": [[TEXT, SOURCE], ...]} or {"error": MESSAGE}. Every string among the
// variables has a source of its own.
#include <iostream>
#include <nlohmann/json.hpp>

#include "quant/error.h"
#include "runtime/jinja/template.h"

namespace {

using Json = nlohmann::ordered_json;

Json render(const Json& request) {
  hearth::jinja::Variables variables;
  int source = 1;
  for (const auto& [name, value] : request.at("variables").items())
    source += variables.set_numbered(name, value, source) + 1;
  if (request.contains("now")) variables.set_now(request["now"].get<int64_t>());
  const hearth::jinja::Template parsed(request.at("template").get_ref<const std::string&>(), "template");
  Json answer = {{"text", ""}, {"pieces", Json::array()}};
  std::string text;
  for (const auto& piece : parsed.render(variables)) {
    text += piece.text;
    answer["pieces"].push_back({piece.text, piece.source});
  }
  answer["text"] = text;
  return answer;
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      answer = render(Json::parse(line));
    } catch (const hearth::Error& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << std::endl;
  }
}
