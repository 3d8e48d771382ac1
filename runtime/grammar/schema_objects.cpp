// Keywords of objects.
#include <algorithm>

#include "runtime/grammar/schema_compiler.h"

namespace hearth::grammar {

bool SchemaCompiler::object_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value) {
  ObjectShape& shape = parts.object;
  if (name == "minProperties") {
    shape.least = count(value);
  } else if (name == "maxProperties") {
    shape.most = count(value);
  } else if (name == "required") {
    for (const JsonValue& each : expect(value, Kind::array, "an array of names").items)
      require_name(shape, expect(each, Kind::string, "a name").text);
  } else if (name == "dependencies" || name == "dependentRequired" || name == "dependentSchemas") {
    for (const auto& [trigger, needed] : expect(value, Kind::object, "an object").members) {
      if (name == "dependentRequired") expect(needed, Kind::array, "an array of names");
      if (name == "dependentSchemas") schema(needed);
      dependency(parts, trigger, needed);
    }
  } else {
    return name == "properties" || name == "patternProperties" || name == "additionalProperties" ||
           name == "propertyNames";  // members() reads them
  }
  return true;
}

void SchemaCompiler::members(SchemaParts& parts) {
  const JsonValue& schema = *parts.schema;
  ObjectShape& shape = parts.object;
  Names others{.others = true};
  if (const JsonValue* listed = schema.find("properties"))
    for (const auto& [name, value] : expect(*listed, Kind::object, "an object of schemas").members) {
      const Expression own = this->schema(value);
      shape.all.push_back({{.listed = {name}}, own});
      others.listed.push_back(name);
    }
  if (const JsonValue* patterns = schema.find("patternProperties"))
    for (const auto& [text, value] : expect(*patterns, Kind::object, "an object of schemas").members) {
      const Regex matched = pattern(value, text);
      const Expression own = this->schema(value);
      shape.all.push_back({{.patterns = {matched}}, own});
      others.patterns.push_back(matched);
    }
  if (const JsonValue* rest = schema.find("additionalProperties")) {
    const Expression value = this->schema(*rest);
    std::sort(others.listed.begin(), others.listed.end());
    std::sort(others.patterns.begin(), others.patterns.end());
    others.patterns.erase(std::unique(others.patterns.begin(), others.patterns.end()), others.patterns.end());
    if (value != kAlways) shape.all.push_back({std::move(others), value});
  }
  if (const JsonValue* names = schema.find("propertyNames")) {
    const Regex allowed = kinds(this->schema(*names)).strings;
    if (allowed != kAnyText) shape.all.push_back({{.patterns = {allowed}, .others = true}, kNever});
  }
  std::erase_if(shape.all, [](const ObjectShape::Member& member) {  // it says nothing, but that the name is known
    return member.value == kAlways;
  });
  std::sort(shape.all.begin(), shape.all.end());
  std::sort(shape.some.begin(), shape.some.end());
  shape.some.erase(std::unique(shape.some.begin(), shape.some.end()), shape.some.end());
}

void SchemaCompiler::require_name(ObjectShape& shape, const std::string& name) const {
  shape.some.push_back({{.listed = {name}}, kAlways});
}

// No member of that name; or one, and what it depends on.
void SchemaCompiler::dependency(SchemaParts& parts, const std::string& trigger, const JsonValue& needed) {
  Kinds without = Kinds::all();
  without.objects = {{.all = {{{.listed = {trigger}}, kNever}}}};
  ObjectShape with;
  require_name(with, trigger);
  Expression schema = kAlways;
  if (needed.is(Kind::array)) {
    for (const JsonValue& name : needed.items) require_name(with, expect(name, Kind::string, "a name").text);
  } else {
    schema = this->schema(needed);
  }
  std::sort(with.some.begin(), with.some.end());
  with.some.erase(std::unique(with.some.begin(), with.some.end()), with.some.end());
  if (with.some.size() == 1 && schema == kAlways) return;
  Kinds triggered = Kinds{};
  triggered.objects = {with};
  restrict_to(parts, either(pools_, without, both(pools_, triggered, kinds(schema))));
}

}  // namespace hearth::grammar
