// Keywords of arrays.
#include "runtime/grammar/schema_compiler.h"

namespace hearth::grammar {

bool SchemaCompiler::array_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value) {
  if (name == "minItems") {
    parts.array.least = count(value);
  } else if (name == "maxItems") {
    parts.array.most = count(value);
  } else if (name == "uniqueItems") {
    expect(value, Kind::boolean, "true or false");
    const JsonValue* most = parts.schema->find("maxItems");
    if (value.boolean && !(most && count(*most) <= 1)) refuse(value, "items that differ are not supported");
  } else if (name == "contains") {
    if (document_.draft() >= 6) contains(parts, value);
  } else {
    return name == "items" || name == "prefixItems" || name == "additionalItems" || name == "minContains" ||
           name == "maxContains";  // items() and contains() read them
  }
  return true;
}

void SchemaCompiler::items(SchemaParts& parts) {
  const JsonValue& schema = *parts.schema;
  const JsonValue *items = schema.find("items"), *prefix = schema.find("prefixItems");
  const JsonValue* rest = items;
  if (document_.draft() < 2020) {
    prefix = items && items->is(Kind::array) ? items : nullptr;
    rest = prefix ? schema.find("additionalItems") : items;
    if (const JsonValue* unused = schema.find("additionalItems"); unused && !prefix) this->schema(*unused);
  }
  if (prefix)
    for (const JsonValue& item : expect(*prefix, Kind::array, "an array of schemas").items)
      parts.array.prefix.push_back(this->schema(item));
  if (rest) parts.array.rest = this->schema(*rest);
}

void SchemaCompiler::contains(SchemaParts& parts, const JsonValue& value) {
  ArrayShape::Count counted{schema(value), 1, kUnbounded};
  if (document_.draft() >= 2019) {
    if (const JsonValue* least = parts.schema->find("minContains")) counted.least = count(*least);
    if (const JsonValue* most = parts.schema->find("maxContains")) counted.most = count(*most);
  }
  if (counted.least > 0 || counted.most != kUnbounded) parts.array.counts.push_back(counted);
}

}  // namespace hearth::grammar
