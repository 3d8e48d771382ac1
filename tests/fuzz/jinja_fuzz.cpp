// Chat templates: whatever a file holds as its template, parsing and rendering end soon, within their memory, with text
// or with an Error, and no character of a message is taken for the template's.
#include "quant/error.h"
#include "tests/fuzz/target.h"
#include "tests/runtime/jinja/render.h"

namespace hearth::test {

namespace {

constexpr const char* kTyped = "\u24d0\u24d1";  // in every message, in no seed

const jinja::Variables& conversation() {
  static const jinja::Variables variables = [] {
    const std::string typed = std::string(" Hi <b>, ") + kTyped + "\n";
    const Json number = {{"type", "number"}, {"description", typed}};
    const Json tool = {{"type", "function"},
                       {"function",
                        {{"name", typed},
                         {"description", typed},
                         {"parameters", {{"type", "object"}, {"properties", {{typed, number}}}}}}}};
    const Json call = {{"id", typed}, {"function", {{"name", typed}, {"arguments", {{typed, 1}}}}}};
    Json messages = Json::array();
    messages.push_back({{"role", "system"}, {"content", typed}});
    messages.push_back({{"role", "user"}, {"content", Json::array({{{"type", "text"}, {"text", typed}}})}});
    messages.push_back({{"role", "assistant"}, {"content", "<think>" + typed + "</think>"}, {"tool_calls", {call}}});
    messages.push_back({{"role", "tool"}, {"tool_call_id", typed}, {"content", typed}});
    jinja::Variables all;
    const Json cases = jinja_cases();
    for (const auto& [name, value] : cases["variables"].items()) all.set(name, value);
    const int strings = all.set_numbered("messages", messages, 1);
    all.set("tools", Json::array({tool}), strings + 1);
    all.set("add_generation_prompt", true);
    all.set("bos_token", "<s>");
    all.set("eos_token", "</s>");
    all.set_now(0);
    return all;
  }();
  return variables;
}

}  // namespace

bool fuzz_one(std::span<const std::byte> input) {
  const std::string source(reinterpret_cast<const char*>(input.data()), input.size());
  try {
    const jinja::Template parsed(source, "fuzz");
    expect(!parsed.reads(""), "no variable is without a name");
    const jinja::Limits limits{30'000, size_t(1) << 20, 400};
    for (const jinja::Piece& piece : parsed.render(conversation(), limits)) {
      expect(!piece.text.empty(), "no piece is empty");
      expect(
          piece.source != 0 || piece.text.find(kTyped) == std::string::npos || source.find(kTyped) != std::string::npos,
          "what was typed is nobody else's");
    }
    return true;
  } catch (const Error& error) {
    expect(error.kind == ErrorKind::model || error.kind == ErrorKind::usage, "a template is refused as a template");
    return false;
  }
}

// Our templates, and the small ones of tests/golden/jinja_cases.json that render here, a dozen to a seed.
std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const char* name :
       {"headers_and_date", "joined_systems", "schema_as_types", "strict_alternation", "turns_with_tools"})
    seeds.push_back(file_text(source_dir() / "tests/golden/templates" / (std::string(name) + ".jinja")));
  seeds.emplace_back();
  int n = 0;
  const Json cases = jinja_cases();
  for (const Json& one : cases["cases"]) {
    const std::string longer = seeds.back() + one["template"].get<std::string>() + "\n";
    if (one.contains("error") || !fuzz_one(std::as_bytes(std::span(longer)))) continue;
    seeds.back() = longer;
    if (++n % 12 == 0) seeds.emplace_back();
  }
  return seeds;
}

}  // namespace hearth::test
