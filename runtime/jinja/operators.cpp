#include <cmath>

#include "runtime/jinja/format.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/text_tools.h"

namespace hearth::jinja {

namespace {

[[noreturn]] void fail_overflow(Budget& budget) {
  budget.fail("expected numbers that fit 64 bits, found a larger result");
}

int64_t power_of(Budget& budget, int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (;; base *= base) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) fail_overflow(budget);
    exponent >>= 1;
    if (exponent == 0) return result;
    int64_t square;
    if (__builtin_mul_overflow(base, base, &square)) fail_overflow(budget);
  }
}

int64_t floor_quotient(Budget& budget, int64_t a, int64_t b) {
  if (a == INT64_MIN && b == -1) fail_overflow(budget);
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
}

int64_t floor_remainder(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_remainder(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

Value calculate_integers(Budget& budget, Operator op, int64_t a, int64_t b, int source) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Operator::add:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Operator::subtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Operator::multiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Operator::divide:
      return {double(a) / double(b), source};
    case Operator::floor_divide:
      result = floor_quotient(budget, a, b);
      break;
    case Operator::modulo:
      result = floor_remainder(a, b);
      break;
    case Operator::power:
      if (b < 0) return {std::pow(double(a), double(b)), source};
      result = power_of(budget, a, b);
      break;
  }
  if (overflow) fail_overflow(budget);
  return {result, source};
}

Value calculate_floats(Budget& budget, Operator op, double a, double b, int source) {
  switch (op) {
    case Operator::add:
      return {a + b, source};
    case Operator::subtract:
      return {a - b, source};
    case Operator::multiply:
      return {a * b, source};
    case Operator::divide:
      return {a / b, source};
    case Operator::floor_divide:
      return {std::floor(a / b), source};
    case Operator::modulo:
      return {floor_remainder(a, b), source};
    case Operator::power:
      break;
  }
  const double result = std::pow(a, b);
  if (std::isnan(result) && !std::isnan(a) && !std::isnan(b))
    budget.fail("expected a real result of '**', found a complex one");
  if (std::isinf(result) && !std::isinf(a) && !std::isinf(b)) budget.fail("the result of '**' is too large");
  return {result, source};
}

Value calculate_numbers(Budget& budget, Operator op, const Value& a, const Value& b) {
  const int source = a.source() != 0 ? a.source() : b.source();
  const bool divides = op == Operator::divide || op == Operator::floor_divide || op == Operator::modulo;
  if ((divides && b.number() == 0) || (op == Operator::power && a.number() == 0 && b.number() < 0))
    budget.fail("division by zero");
  if (a.is_integer() && b.is_integer()) return calculate_integers(budget, op, a.integer(), b.integer(), source);
  return calculate_floats(budget, op, a.number(), b.number(), source);
}

size_t times(Budget& budget, size_t size, int64_t count) {
  if (count <= 0 || size == 0) return 0;
  size_t total = 0;
  if (__builtin_mul_overflow(size, size_t(count), &total)) total = SIZE_MAX;
  budget.expect_room(total);
  budget.step(total);
  return size_t(count);
}

Value repeat(Budget& budget, const Value& sequence, int64_t count) {
  if (sequence.is_text()) {
    Text out;
    for (size_t n = times(budget, sequence.text().footprint(), sequence.text().empty() ? 0 : count); n > 0; --n)
      out.append(sequence.text());
    return make_text(budget, std::move(out), sequence.is_markup());
  }
  const List& list = *sequence.list();
  Values items;
  for (size_t n = times(budget, list.items.size() * sizeof(Value), count); n > 0; --n)
    items.insert(items.end(), list.items.begin(), list.items.end());
  return make_list(budget, std::move(items), list.kind);
}

bool is_sequence(const Value& value) {
  return value.is_text() || (value.list() != nullptr && value.list()->is_plain());
}

Value join_lists(Budget& budget, const List& a, const List& b) {
  budget.expect_room((a.items.size() + b.items.size()) * sizeof(Value));
  Values items;
  items.reserve(a.items.size() + b.items.size());
  items.insert(items.end(), a.items.begin(), a.items.end());
  items.insert(items.end(), b.items.begin(), b.items.end());
  return make_list(budget, std::move(items), a.kind);
}

const char* sign_of(Operator op) {
  constexpr const char* kSigns[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSigns[int(op)];
}

}  // namespace

Value calculate(Interpreter& interpreter, Operator op, const Value& a, const Value& b) {
  Budget& budget = interpreter.budget();
  budget.step();
  if (a.is_number() && b.is_number()) return calculate_numbers(budget, op, a, b);
  if (op == Operator::modulo && a.is_text()) return format_percent(interpreter, a, b);
  for (const Value* v : {&a, &b})
    if (v->is_undefined()) budget.fail("{}", *v->as_undefined().why);
  if (op == Operator::add && a.is_text() && b.is_text()) {
    budget.expect_room(a.text().footprint() + b.text().footprint());
    const bool markup = a.is_markup() || b.is_markup();
    Text joined = markup ? escaped(budget, a) : a.text();
    joined.append(markup ? escaped(budget, b) : b.text());
    return make_text(budget, std::move(joined), markup);
  }
  if (op == Operator::add && is_sequence(a) && is_sequence(b) && !a.is_text() && !b.is_text() &&
      a.list()->kind == b.list()->kind)
    return join_lists(budget, *a.list(), *b.list());
  if (op == Operator::multiply && is_sequence(a) && b.is_integer()) return repeat(budget, a, b.integer());
  if (op == Operator::multiply && is_sequence(b) && a.is_integer()) return repeat(budget, b, a.integer());
  budget.fail("expected values that '{}' is for, found '{}' and '{}'", sign_of(op), type_name(a), type_name(b));
}

Value negative(Budget& budget, const Value& value) {
  if (value.is_float()) return {-value.number(), value.source()};
  if (value.integer() == INT64_MIN) fail_overflow(budget);
  return {-value.integer(), value.source()};
}

}  // namespace hearth::jinja
