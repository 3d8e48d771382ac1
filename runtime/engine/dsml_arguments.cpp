#include "runtime/engine/dsml_arguments.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/grammar/text_paths.h"
#include "runtime/tools/dsml_calls.h"

namespace hearth {

namespace {

using grammar::Grammar;
using grammar::Refusal;
using grammar::TextPart;
using grammar::TextPath;
using Json = nlohmann::ordered_json;

constexpr std::string_view kAnnotations[] = {"title",    "description", "default",    "examples", "deprecated",
                                             "readOnly", "writeOnly",   "format",     "$comment", "$schema",
                                             "$id",      "$defs",       "definitions"};

bool is_annotation(const std::string& key) {
  return std::ranges::find(kAnnotations, key) != std::end(kAnnotations);
}

// An object of a JSON pointer (RFC 6901).
std::string pointer_to(const std::string& name) {
  std::string escaped;
  for (const char c : name) escaped += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return "/properties/" + escaped;
}

// The strings that are written between the tags as they are, one of them or any (free); none: JSON of the schema is.
std::vector<TextPart> raw_values(const Json& schema) {
  if (!schema.is_object()) return {};
  const auto only = [&](const std::set<std::string>& keys) {
    return std::ranges::all_of(
        schema.items(), [&](const auto& item) { return keys.contains(item.key()) || is_annotation(item.key()); });
  };
  if (schema.value("type", Json("string")) != "string") return {};
  if (schema.contains("type") && only({"type"})) return {{.kind = TextPart::Kind::free}};
  const Json values = schema.contains("const") ? Json::array({schema["const"]}) : schema.value("enum", Json());
  if (!values.is_array() || values.empty() || !only({"type", schema.contains("const") ? "const" : "enum"})) return {};
  std::vector<TextPart> texts;
  for (const Json& value : values) {
    if (!value.is_string() || value.get<std::string>().find("</") != std::string::npos) return {};
    texts.push_back({.kind = TextPart::Kind::text, .text = value.get<std::string>()});
  }
  return texts;
}

// A property's schema by itself: references into the schema around it still lead somewhere.
std::string standing_alone(const Json& schema, const Json& around) {
  if (!schema.is_object()) return schema.dump();
  Json alone = schema;
  for (const char* shared : {"$schema", "$defs", "definitions"})
    if (around.contains(shared) && !alone.contains(shared)) alone[shared] = around[shared];
  return alone.dump();
}

std::shared_ptr<const Grammar> parameter(const std::string& name, const Json& schema, const Json& around) {
  const auto tag = [&](bool is_string) { return dsml_parameter_open(name, is_string); };
  const TextPart line_end = {.kind = TextPart::Kind::text, .text = "\n"};
  const std::string close(kDsmlParameterClose);
  std::vector<TextPath> ways;
  for (TextPart& value : raw_values(schema)) {
    value.text += close;  // free text goes up to there
    TextPath way{.parts = {{.kind = TextPart::Kind::text, .text = tag(true)}, std::move(value), line_end}};
    ways.push_back(std::move(way));
  }
  if (ways.empty()) {
    std::shared_ptr<const Grammar> json;
    try {
      json = grammar::compile_schema(standing_alone(schema, around), {.few_blanks = true});
    } catch (const Refusal& refusal) {
      const bool shared = refusal.where.starts_with("/$defs") || refusal.where.starts_with("/definitions");
      throw Refusal((shared ? "" : pointer_to(name)) + refusal.where, refusal.why);
    }
    ways.push_back({.parts = {{.kind = TextPart::Kind::text, .text = tag(false)},
                              {.kind = TextPart::Kind::grammar, .grammar = std::move(json)},
                              {.kind = TextPart::Kind::text, .text = close},
                              line_end}});
  }
  return grammar::compile_paths(std::move(ways));
}

}  // namespace

std::shared_ptr<const Grammar> compile_dsml_arguments(const std::string& text) {
  const Json schema = Json::parse(text, nullptr, false);
  if (!schema.is_object()) throw Refusal("", "expected an object");
  const Json properties = schema.value("properties", Json::object());
  const Json required = schema.value("required", Json::array());
  if (!properties.is_object()) throw Refusal("/properties", "expected an object");
  if (!required.is_array()) throw Refusal("/required", "expected a list");
  for (const auto& [key, value] : schema.items()) {
    const bool known = key == "type" || key == "properties" || key == "required" || key == "additionalProperties";
    if (!known && !is_annotation(key))
      throw Refusal("/" + key, "cannot be honoured where each argument is written by itself");
  }
  TextPath all;
  const auto add = [&](const std::string& name, const Json& of, bool must) {
    if (name.empty() || name.find_first_of("\"<>\n") != std::string::npos)
      throw Refusal(pointer_to(name), "expected a name that can stand between quotes in a tag");
    if (of == false && !must) return;
    auto written = parameter(name, of, schema);
    if (!must)
      written =
          grammar::compile_paths({{.parts = {{.kind = TextPart::Kind::grammar, .grammar = std::move(written)}}}, {}});
    all.parts.push_back({.kind = TextPart::Kind::grammar, .grammar = std::move(written)});
  };
  const auto is_required = [&](const std::string& name) {
    return std::ranges::find(required, Json(name)) != required.end();
  };
  for (const auto& [name, of] : properties.items()) add(name, of, is_required(name));
  for (const Json& name : required) {
    if (!name.is_string()) throw Refusal("/required", "expected names");
    if (!properties.contains(name.get<std::string>()))
      add(name.get<std::string>(), schema.value("additionalProperties", Json(true)), true);
  }
  return grammar::compile_paths({std::move(all)});
}

}  // namespace hearth
