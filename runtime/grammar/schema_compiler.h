// Keywords into kinds: what each schema of a document allows.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "runtime/grammar/kinds.h"
#include "runtime/grammar/refusal.h"
#include "runtime/grammar/schema_document.h"

namespace hearth::grammar {

// One schema object while its keywords are read. Keywords of numbers, strings, arrays and objects by themselves are one
// shape each; what combines schemas comes on top.
struct SchemaParts {
  const JsonValue* schema;
  NumberSet numbers = kAnyNumber;
  Regex strings = kAnyText;
  ArrayShape array = {};
  ObjectShape object = {};
  Kinds kinds = Kinds::all();
};

class SchemaCompiler {
 public:
  // `formats`: whether `format` asserts something.
  SchemaCompiler(const SchemaDocument& document, Pools& pools, bool formats)
      : document_(document), pools_(pools), formats_(formats) {}

  // Throws Refusal.
  const Kinds& kinds(Expression expression);
  // Certainly no value satisfies it. False where that was not seen within a few levels.
  bool surely_empty(Expression expression, int levels = 3);

 private:
  using Kind = JsonValue::Kind;

  Kinds compute(Expression expression);
  Kinds of_schema(const JsonValue* schema);
  Kinds of_constant(const JsonValue* value);
  Kinds of_constants(const JsonValue& list);

  bool number_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value);
  bool string_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value);
  bool array_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value);
  bool object_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value);
  bool logic_keyword(SchemaParts& parts, std::string_view name, const JsonValue& value);
  void check_keyword(std::string_view name, const JsonValue& value) const;

  void format(SchemaParts& parts, const JsonValue& value);
  void items(SchemaParts& parts);
  void contains(SchemaParts& parts, const JsonValue& value);
  void members(SchemaParts& parts);
  void require_name(ObjectShape& shape, const std::string& name) const;
  void dependency(SchemaParts& parts, const std::string& trigger, const JsonValue& value);
  void condition(SchemaParts& parts);
  Expression one_of(const JsonValue& list);
  void restrict_to(SchemaParts& parts, Expression expression) { restrict_to(parts, kinds(expression)); }
  void restrict_to(SchemaParts& parts, const Kinds& kinds) { parts.kinds = both(pools_, parts.kinds, kinds); }
  void drop_empty(Kinds& kinds);
  bool surely_empty(const ArrayShape& shape, int levels);
  bool surely_empty(const ObjectShape& shape, int levels);

  // `value` stands in the document; throws a Refusal that points to it.
  [[noreturn]] void refuse(const JsonValue& value, const std::string& why) const {
    throw Refusal(document_.pointer_to(&value), why);
  }
  uint32_t count(const JsonValue& value) const;
  Expression schema(const JsonValue& value) const;
  Regex pattern(const JsonValue& at, std::string_view text) const;
  const JsonValue& expect(const JsonValue& value, Kind kind, std::string_view what) const {
    if (!value.is(kind)) refuse(value, fmt::format("expected {}", what));
    return value;
  }

  const SchemaDocument& document_;
  Pools& pools_;
  bool formats_;
  std::unordered_map<Expression, Kinds> known_;
  std::set<Expression> open_;  // being computed
};

}  // namespace hearth::grammar
