#include "runtime/grammar/schema_compiler.h"

#include <algorithm>

#include "runtime/grammar/pattern.h"

namespace hearth::grammar {
namespace {

// A schema that is being read is needed to read itself.
class Endless : public Refusal {
 public:
  explicit Endless(std::string where) : Refusal(std::move(where), "leads to itself without end") {}
};

}  // namespace

const Kinds& SchemaCompiler::kinds(Expression expression) {
  if (const auto known = known_.find(expression); known != known_.end()) return known->second;
  const Expressions::Node& node = pools_.expressions.node(expression);
  if (!open_.insert(expression).second) throw Endless(node.value ? document_.pointer_to(node.value) : "");
  try {
    Kinds made = compute(expression);
    open_.erase(expression);
    return known_[expression] = std::move(made);
  } catch (...) {
    open_.erase(expression);
    throw;
  }
}

Kinds SchemaCompiler::compute(Expression expression) {
  const Expressions::Node node = pools_.expressions.node(expression);
  using Is = Expressions::Kind;
  Kinds made;
  switch (node.kind) {
    case Is::never:
      return {};
    case Is::always:
      return Kinds::all();
    case Is::schema:
      return of_schema(node.value);
    case Is::constant:
      return of_constant(node.value);
    case Is::complement:
      return complement(pools_, kinds(node.parts[0]));
    case Is::both:
      made = Kinds::all();
      for (const Expression part : node.parts) made = both(pools_, made, kinds(part));
      drop_empty(made);
      return made;
    case Is::either:
      for (const Expression part : node.parts) made = either(pools_, made, kinds(part));
      return made;
  }
  return made;
}

Kinds SchemaCompiler::of_schema(const JsonValue* schema) {
  if (schema->is(Kind::boolean)) return schema->boolean ? Kinds::all() : Kinds{};
  expect(*schema, Kind::object, "a schema: an object, true or false");
  SchemaParts parts{schema};
  const JsonValue* reference = schema->find("$ref");
  const auto follow = [&] {
    expect(*reference, Kind::string, "a string");
    restrict_to(parts, pools_.expressions.schema(document_.target(schema, reference->text)));
  };
  try {
    if (reference && document_.draft() <= 7) {  // what stands beside it says nothing
      follow();
      return parts.kinds;
    }
    for (const auto& [name, value] : schema->members) {
      check_keyword(name, value);
      if (!number_keyword(parts, name, value) && !string_keyword(parts, name, value) &&
          !array_keyword(parts, name, value) && !object_keyword(parts, name, value))
        logic_keyword(parts, name, value);
    }
    items(parts);
    members(parts);
    condition(parts);
    Kinds own = Kinds::all();
    own.numbers = parts.numbers;
    own.strings = parts.strings;
    own.arrays = {parts.array};
    own.objects = {parts.object};
    if (parts.array.least > parts.array.most) own.arrays.clear();
    if (parts.object.least > parts.object.most) own.objects.clear();
    restrict_to(parts, own);
    if (reference) follow();
    drop_empty(parts.kinds);
  } catch (const Refusal& refusal) {  // from what knows no places
    if (!refusal.where.empty() || dynamic_cast<const Endless*>(&refusal)) throw;
    throw Refusal(document_.pointer_to(schema), refusal.why);
  }
  return parts.kinds;
}

Kinds SchemaCompiler::of_constant(const JsonValue* value) {
  Kinds made;
  switch (value->kind) {
    case Kind::null:
      made.null = true;
      break;
    case Kind::boolean:
      made.booleans[value->boolean] = true;
      break;
    case Kind::number:
      made.numbers = pools_.numbers.one_of({value->text});
      break;
    case Kind::string:
      made.strings = pools_.regexes.literal(value->text);
      break;
    case Kind::array: {
      ArrayShape shape;
      for (const JsonValue& item : value->items) shape.prefix.push_back(pools_.expressions.constant(&item));
      shape.rest = kNever;
      shape.least = shape.most = static_cast<uint32_t>(value->items.size());
      made.arrays = {shape};
      break;
    }
    case Kind::object: {
      ObjectShape shape;
      for (const auto& [name, member] : value->members) {
        const Expression own = pools_.expressions.constant(&member);
        shape.all.push_back({{.listed = {name}}, own});
        require_name(shape, name);
      }
      std::sort(shape.all.begin(), shape.all.end());
      std::sort(shape.some.begin(), shape.some.end());
      shape.least = shape.most = static_cast<uint32_t>(value->members.size());
      made.objects = {shape};
      break;
    }
  }
  return made;
}

// Of all strings of an enum one set is made at once, and of all numbers.
Kinds SchemaCompiler::of_constants(const JsonValue& list) {
  std::vector<std::string> texts, numbers;
  Kinds made;
  for (const JsonValue& value : list.items) {
    if (value.is(Kind::string))
      texts.push_back(value.text);
    else if (value.is(Kind::number))
      numbers.push_back(value.text);
    else
      made = either(pools_, made, of_constant(&value));
  }
  made.strings = pools_.regexes.literals(std::move(texts));
  if (!numbers.empty()) made.numbers = pools_.numbers.one_of(numbers);
  return made;
}

uint32_t SchemaCompiler::count(const JsonValue& value) const {
  const int64_t number = value.is(Kind::number) ? count_of(value.text) : -1;
  if (number < 0) refuse(value, "expected a whole number from 0 to 2^31");
  return static_cast<uint32_t>(number);
}

Expression SchemaCompiler::schema(const JsonValue& value) const {
  const bool boolean = value.is(Kind::boolean);
  if (!boolean && !value.is(Kind::object)) refuse(value, "expected a schema: an object, true or false");
  return pools_.expressions.schema(&value);
}

Regex SchemaCompiler::pattern(const JsonValue& at, std::string_view text) const {
  try {
    return parse_pattern(pools_.regexes, text);
  } catch (const Refusal& refusal) {
    refuse(at, refusal.why);
  } catch (const Error& error) {
    refuse(at, error.what());
  }
}

void SchemaCompiler::drop_empty(Kinds& kinds) {
  std::erase_if(kinds.arrays, [&](const ArrayShape& shape) { return surely_empty(shape, 2); });
  std::erase_if(kinds.objects, [&](const ObjectShape& shape) { return surely_empty(shape, 2); });
}

bool SchemaCompiler::surely_empty(Expression expression, int levels) {
  if (expression == kNever) return true;
  if (expression == kAlways || levels <= 0 || open_.contains(expression)) return false;
  Kinds own;  // a copy: what follows may add others
  try {
    own = kinds(expression);
  } catch (const Endless&) {
    return false;
  }
  if (own.null || own.booleans[0] || own.booleans[1] || own.numbers != kNoNumber || pools_.regexes.alive(own.strings))
    return false;
  return std::all_of(own.arrays.begin(), own.arrays.end(),
                     [&](auto& shape) { return surely_empty(shape, levels - 1); }) &&
         std::all_of(own.objects.begin(), own.objects.end(),
                     [&](auto& shape) { return surely_empty(shape, levels - 1); });
}

bool SchemaCompiler::surely_empty(const ArrayShape& shape, int levels) {
  for (uint32_t i = 0; i < shape.least && i <= shape.prefix.size(); ++i)
    if (surely_empty(i < shape.prefix.size() ? shape.prefix[i] : shape.rest, levels)) return true;
  return std::any_of(shape.counts.begin(), shape.counts.end(), [&](const ArrayShape::Count& count) {
    return count.least > count.most || (count.least > 0 && surely_empty(count.value, levels));
  });
}

// Looks at what is demanded of single names.
bool SchemaCompiler::surely_empty(const ObjectShape& shape, int levels) {
  uint32_t demanded = 0;
  for (const auto& some : shape.some) {
    if (some.names.others || !some.names.patterns.empty() || some.names.listed.size() != 1) continue;
    ++demanded;
    std::vector<Expression> values = {some.value};
    const std::string& name = some.names.listed[0];
    for (const auto& all : shape.all) {
      const bool listed = std::binary_search(all.names.listed.begin(), all.names.listed.end(), name);
      const bool matched = listed || std::any_of(all.names.patterns.begin(), all.names.patterns.end(),
                                                 [&](Regex each) { return pools_.regexes.matches(each, name); });
      if (matched != all.names.others) values.push_back(all.value);
    }
    if (surely_empty(pools_.expressions.both(std::move(values)), levels)) return true;
  }
  return shape.least > shape.most || demanded > shape.most;
}

}  // namespace hearth::grammar
