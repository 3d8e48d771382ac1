// Keywords that combine schemas or list values; and what is not supported.
#include <algorithm>
#include <map>
#include <set>

#include "runtime/grammar/schema_compiler.h"

namespace hearth::grammar {
namespace {

struct Known {
  int first, last;  // drafts that have the keyword
};

// Keywords that say something about values. Others are annotations, which any schema may have.
const std::map<std::string, Known, std::less<>> kAsserting = {{"const", {6, 2020}},
                                                              {"contains", {6, 2020}},
                                                              {"propertyNames", {6, 2020}},
                                                              {"if", {7, 2020}},
                                                              {"additionalItems", {4, 2019}},
                                                              {"prefixItems", {2020, 2020}},
                                                              {"dependentRequired", {2019, 2020}},
                                                              {"dependentSchemas", {2019, 2020}},
                                                              {"unevaluatedItems", {2019, 2020}},
                                                              {"unevaluatedProperties", {2019, 2020}},
                                                              {"$recursiveRef", {2019, 2019}},
                                                              {"$dynamicRef", {2020, 2020}}};

}  // namespace

void SchemaCompiler::check_keyword(std::string_view name, const JsonValue& value) const {
  const auto known = kAsserting.find(name);
  if (known == kAsserting.end()) return;
  const int draft = document_.draft();
  if (draft < known->second.first || draft > known->second.last) {
    if (name == "additionalItems") return;  // which nothing but an array of items made speak
    refuse(value, fmt::format("draft {} has no {}", draft, name));
  }
}

bool SchemaCompiler::logic_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value) {
  const auto schemas = [&](const JsonValue& list) {
    if (!list.is(Kind::array) || list.items.empty()) refuse(list, "expected an array of one schema or more");
    std::vector<Expression> made;
    for (const JsonValue& item : list.items) made.push_back(schema(item));
    return made;
  };
  if (name == "type") {
    Kinds types;
    const auto add = [&](const JsonValue& type) {
      const std::string& text = expect(type, Kind::string, "the name of a type").text;
      const Kinds all = Kinds::all();
      if (text == "null")
        types.null = true;
      else if (text == "boolean")
        types.booleans[0] = types.booleans[1] = true;
      else if (text == "number")
        types.numbers = kAnyNumber;
      else if (text == "integer" && document_.draft() == 4)
        types.numbers = pools_.numbers.either(types.numbers, pools_.numbers.integers_as_written());
      else if (text == "integer")
        types.numbers = pools_.numbers.either(types.numbers, pools_.numbers.integers());
      else if (text == "string")
        types.strings = kAnyText;
      else if (text == "array")
        types.arrays = all.arrays;
      else if (text == "object")
        types.objects = all.objects;
      else
        refuse(type, fmt::format("expected null, boolean, number, integer, string, array or object, found {}", text));
    };
    if (value.is(Kind::array))
      std::for_each(value.items.begin(), value.items.end(), add);
    else
      add(value);
    restrict_to(parts, types);
  } else if (name == "enum") {
    restrict_to(parts, of_constants(expect(value, Kind::array, "an array")));
  } else if (name == "const") {
    restrict_to(parts, of_constant(&value));
  } else if (name == "allOf") {
    for (const Expression each : schemas(value)) restrict_to(parts, each);
  } else if (name == "anyOf") {
    restrict_to(parts, pools_.expressions.either(schemas(value)));
  } else if (name == "oneOf") {
    schemas(value);
    restrict_to(parts, one_of(value));
  } else if (name == "not") {
    restrict_to(parts, pools_.expressions.complement(schema(value)));
  } else if (name == "$dynamicRef") {
    const std::string& text = expect(value, Kind::string, "a string").text;
    const size_t hash = text.find('#');
    const bool pointer = hash == text.npos || hash + 1 == text.size() || text[hash + 1] == '/';
    if (!pointer && document_.dynamic_anchors(text.substr(hash + 1)) > 1)
      refuse(value, "references that depend on where they come from are not supported");
    restrict_to(parts, pools_.expressions.schema(document_.target(parts.schema, text)));
  } else if (name == "unevaluatedItems" || name == "unevaluatedProperties" || name == "$recursiveRef") {
    refuse(value, fmt::format("{} is not supported", name));
  } else {
    return false;
  }
  return true;
}

// Each by itself, without those of the others that it may share values with.
Expression SchemaCompiler::one_of(const JsonValue& list) {
  Expressions& expressions = pools_.expressions;
  std::vector<Expression> parts, alternatives;
  for (const JsonValue& item : list.items) parts.push_back(schema(item));
  for (size_t i = 0; i < parts.size(); ++i) {
    std::vector<Expression> alone = {parts[i]};
    for (size_t j = 0; j < parts.size(); ++j) {
      if (i == j || parts[j] == kNever) continue;
      if (parts[i] == parts[j] || !surely_empty(expressions.both(parts[i], parts[j])))
        alone.push_back(expressions.complement(parts[j]));
    }
    alternatives.push_back(expressions.both(std::move(alone)));
  }
  return expressions.either(std::move(alternatives));
}

void SchemaCompiler::condition(SchemaParts& parts) {
  const JsonValue *test = parts.schema->find("if"), *then = parts.schema->find("then"),
                  *otherwise = parts.schema->find("else");
  if (!test || document_.draft() < 7 || (!then && !otherwise)) return;
  Expressions& expressions = pools_.expressions;
  const Expression holds = schema(*test);
  const Expression yes = then ? schema(*then) : kAlways, no = otherwise ? schema(*otherwise) : kAlways;
  restrict_to(parts,
              expressions.either({expressions.both(holds, yes), expressions.both(expressions.complement(holds), no)}));
}

}  // namespace hearth::grammar
