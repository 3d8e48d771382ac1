// Tests: what stands after `is`.
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/print.h"

namespace hearth::jinja {

namespace {

using In = Interpreter&;

Value is_defined(In, const Value& v, const Bound&) {
  return !v.is_undefined();
}
Value is_undefined(In, const Value& v, const Bound&) {
  return v.is_undefined();
}
Value is_none(In, const Value& v, const Bound&) {
  return v.is_none();
}
Value is_boolean(In, const Value& v, const Bound&) {
  return v.is_bool();
}
Value is_true(In, const Value& v, const Bound&) {
  return v.is_bool() && v.as_bool();
}
Value is_false(In, const Value& v, const Bound&) {
  return v.is_bool() && !v.as_bool();
}
Value is_integer(In, const Value& v, const Bound&) {
  return v.is_integer() && !v.is_bool();
}
Value is_float(In, const Value& v, const Bound&) {
  return v.is_float();
}
Value is_number(In, const Value& v, const Bound&) {
  return v.is_number();
}
Value is_string(In, const Value& v, const Bound&) {
  return v.is_text();
}
Value is_mapping(In, const Value& v, const Bound&) {
  return v.dict() != nullptr;
}
Value is_iterable_value(In, const Value& v, const Bound&) {
  return is_iterable(v);
}
Value is_callable(In, const Value& v, const Bound&) {
  return v.is_undefined() || (v.object() != nullptr && v.object()->callable());  // Undefined has a __call__
}
Value is_sequence_value(In, const Value& v, const Bound&) {
  return v.is_undefined() || v.is_text() || v.dict() != nullptr || v.range() != nullptr ||
         (v.list() != nullptr && v.list()->is_plain());
}
Value is_escaped(In, const Value& v, const Bound&) {
  return v.is_markup();
}

int64_t whole(In interpreter, const Value& v) {
  if (v.is_undefined()) interpreter.budget().fail("{}", *v.as_undefined().why);
  if (!v.is_number()) interpreter.budget().fail("expected a number for this test, found '{}'", type_name(v));
  return v.is_integer() ? v.integer() : 0;
}

bool remainder_is(In interpreter, const Value& v, const Value& by, double wanted) {
  const Value rest = calculate(interpreter, Operator::modulo, v, by);
  return rest.is_number() && rest.number() == wanted;
}

Value is_odd(In i, const Value& v, const Bound&) {
  return whole(i, v), remainder_is(i, v, int64_t(2), 1);
}
Value is_even(In i, const Value& v, const Bound&) {
  return whole(i, v), remainder_is(i, v, int64_t(2), 0);
}
Value is_divisibleby(In i, const Value& v, const Bound& args) {
  return whole(i, v), remainder_is(i, v, args[0], 0);
}

Value is_lower_text(In i, const Value& v, const Bound&) {
  return i.call(i.attribute(i.text(to_text(i.budget(), v)), "islower"), {});
}
Value is_upper_text(In i, const Value& v, const Bound&) {
  return i.call(i.attribute(i.text(to_text(i.budget(), v)), "isupper"), {});
}

Value is_in(In i, const Value& v, const Bound& args) {
  return contains(i.budget(), args[0], v);
}
Value is_equal(In i, const Value& v, const Bound& args) {
  return equal(i.budget(), v, args[0]);
}
Value is_not_equal(In i, const Value& v, const Bound& args) {
  return !equal(i.budget(), v, args[0]);
}
Value is_less(In i, const Value& v, const Bound& args) {
  return compare(i.budget(), v, args[0]) < 0;
}
Value is_less_equal(In i, const Value& v, const Bound& args) {
  return compare(i.budget(), v, args[0]) <= 0;
}
Value is_greater(In i, const Value& v, const Bound& args) {
  return compare(i.budget(), v, args[0]) > 0;
}
Value is_greater_equal(In i, const Value& v, const Bound& args) {
  return compare(i.budget(), v, args[0]) >= 0;
}

// One object in Python. Constants and small numbers are; of other values the same is taken for an equal one.
Value is_same(In i, const Value& v, const Bound& args) {
  if (v.list() != nullptr) return v.list() == args[0].list();
  if (v.dict() != nullptr) return v.dict() == args[0].dict();
  return type_name(v) == type_name(args[0]) && equal(i.budget(), v, args[0]);
}

Value is_filter(In i, const Value& v, const Bound&) {
  if (!v.is_text()) i.budget().fail("expected the name of a filter, found '{}'", type_name(v));
  return find_filter(v.text().bytes()) != nullptr;
}
Value is_test(In i, const Value& v, const Bound&) {
  if (!v.is_text()) i.budget().fail("expected the name of a test, found '{}'", type_name(v));
  return find_test(v.text().bytes()) != nullptr;
}

constexpr Builtin kTests[] = {
    {"boolean", "", is_boolean},
    {"callable", "", is_callable},
    {"defined", "", is_defined},
    {"divisibleby", "num", is_divisibleby},
    {"eq", "other", is_equal},
    {"equalto", "other", is_equal},
    {"==", "other", is_equal},
    {"escaped", "", is_escaped},
    {"even", "", is_even},
    {"false", "", is_false},
    {"filter", "", is_filter},
    {"float", "", is_float},
    {"ge", "other", is_greater_equal},
    {">=", "other", is_greater_equal},
    {"greaterthan", "other", is_greater},
    {"gt", "other", is_greater},
    {">", "other", is_greater},
    {"in", "seq", is_in},
    {"integer", "", is_integer},
    {"iterable", "", is_iterable_value},
    {"le", "other", is_less_equal},
    {"<=", "other", is_less_equal},
    {"lessthan", "other", is_less},
    {"lt", "other", is_less},
    {"<", "other", is_less},
    {"lower", "", is_lower_text},
    {"mapping", "", is_mapping},
    {"ne", "other", is_not_equal},
    {"!=", "other", is_not_equal},
    {"none", "", is_none},
    {"number", "", is_number},
    {"odd", "", is_odd},
    {"sameas", "other", is_same},
    {"sequence", "", is_sequence_value},
    {"string", "", is_string},
    {"test", "", is_test},
    {"true", "", is_true},
    {"undefined", "", is_undefined},
    {"upper", "", is_upper_text},
};

}  // namespace

const Builtin* find_test(std::string_view name) {
  return find_in(kTests, name);
}

}  // namespace hearth::jinja
