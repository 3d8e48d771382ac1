// Keywords of numbers and strings.
#include "runtime/grammar/schema_compiler.h"

namespace hearth::grammar {

bool SchemaCompiler::number_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value) {
  const bool least = name == "minimum" || name == "exclusiveMinimum";
  if (!least && name != "maximum" && name != "exclusiveMaximum" && name != "multipleOf") return false;
  NumberPool& numbers = pools_.numbers;
  const bool exclusive = name.starts_with("exclusive");
  if (exclusive && document_.draft() == 4) {  // a flag beside the bound, which reads it
    expect(value, Kind::boolean, "true or false");
    return true;
  }
  expect(value, Kind::number, "a number");
  try {
    if (name == "multipleOf") {
      if (!is_positive(value.text)) refuse(value, "expected a number above 0");
      parts.numbers = numbers.both(parts.numbers, numbers.multiples_of(value.text));
      return true;
    }
    bool open = exclusive;
    if (document_.draft() == 4) {
      const JsonValue* flag = parts.schema->find(least ? "exclusiveMinimum" : "exclusiveMaximum");
      open = flag && flag->is(Kind::boolean) && flag->boolean;
    }
    parts.numbers =
        numbers.both(parts.numbers, least ? numbers.at_least(value.text, open) : numbers.at_most(value.text, open));
  } catch (const Refusal& refusal) {
    if (!refusal.where.empty()) throw;
    refuse(value, refusal.why);
  }
  return true;
}

bool SchemaCompiler::string_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value) {
  RegexPool& regexes = pools_.regexes;
  if (name == "minLength") {
    parts.strings = regexes.both({parts.strings, regexes.any_of_length(count(value), kUnbounded)});
  } else if (name == "maxLength") {
    // With its partner, so that both are one range and not an intersection of two.
    const JsonValue* least = parts.schema->find("minLength");
    const uint32_t from = least ? count(*least) : 0;
    parts.strings = regexes.both({parts.strings, regexes.any_of_length(from, count(value))});
  } else if (name == "format") {
    format(parts, value);
  } else if (name == "pattern") {
    expect(value, Kind::string, "a string");
    parts.strings = regexes.both({parts.strings, pattern(value, value.text)});
  } else {
    return false;
  }
  return true;
}

}  // namespace hearth::grammar
