#include <algorithm>

#include "runtime/jinja/objects.h"
#include "runtime/jinja/print.h"

namespace hearth::jinja {

Value Interpreter::evaluate(const Expression& expression) {
  const Budget::Level level(budget_);
  budget_.step();
  budget_.at_line(expression.line);
  return std::visit([&](const auto& what) { return evaluate(what); }, expression.what);
}

const Value* Interpreter::find_variable(std::string_view name) const {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get())
    for (const auto& [key, value] : scope->names)
      if (key == name) return &value;
  for (const auto& [key, value] : context_)
    if (key == name) return &value;
  return nullptr;
}

Value Interpreter::evaluate(const Name& name) {
  if (const Value* value = find_variable(name.name)) return *value;
  if (const Builtin* function = find_function(name.name))
    return std::shared_ptr<Object>(new BuiltinObject(budget_, *function, {}));
  return Value::undefined("'" + name.name + "' is undefined");
}

Value Interpreter::evaluate(const ListDisplay& display) {
  Values items;
  items.reserve(display.items.size());
  for (const auto& item : display.items) items.push_back(evaluate(*item));
  return make_list(budget_, std::move(items), display.tuple ? List::Kind::tuple : List::Kind::list);
}

Value Interpreter::evaluate(const DictDisplay& display) {
  Entries entries;
  for (const auto& [key, value] : display.entries) {
    Value k = evaluate(*key);
    entries.emplace_back(std::move(k), evaluate(*value));
  }
  return make_dict(budget_, std::move(entries));
}

Value Interpreter::evaluate(const Attribute& what) {
  return attribute(evaluate(*what.object), what.name);
}

Value Interpreter::evaluate(const Item& what) {
  const Value object = evaluate(*what.object);
  return item(object, evaluate(*what.key));
}

Value Interpreter::evaluate(const Slice& what) {
  const auto part = [&](const ExpressionPtr& e) { return e == nullptr ? Value() : evaluate(*e); };
  const Value object = evaluate(*what.object);
  const Value start = part(what.start), stop = part(what.stop);
  return slice(object, start, stop, part(what.step));
}

// --- Calls.

Arguments Interpreter::evaluate_arguments(const ArgumentList& list) {
  Arguments arguments;
  for (const auto& e : list.positional) arguments.positional.push_back(evaluate(*e));
  if (list.more_positional != nullptr) {
    for (Value& value : iterate(budget_, evaluate(*list.more_positional)))
      arguments.positional.push_back(std::move(value));
  }
  const auto add_named = [&](const std::string& name, Value value) {
    for (const auto& [other, v] : arguments.named)
      if (other == name) budget_.fail("got several values for the argument '{}'", name);
    budget_.step(arguments.named.size() * 4);
    arguments.named.emplace_back(name, std::move(value));
  };
  for (const auto& [name, e] : list.named) add_named(name, evaluate(*e));
  if (list.more_named != nullptr) {
    const Value more = evaluate(*list.more_named);
    if (more.dict() == nullptr) budget_.fail("expected a dict after **, found '{}'", type_name(more));
    for (const auto& [name, value] : more.dict()->entries) {
      if (!name.is_text()) budget_.fail("expected names as keys after **, found '{}'", type_name(name));
      add_named(name.text().bytes(), value);
    }
  }
  return arguments;
}

Value Interpreter::call_expression(const Call& call_, Arguments arguments, bool with_caller) {
  if (const auto* of = std::get_if<Attribute>(&call_.callee->what); of != nullptr && !with_caller) {
    const Value object = evaluate(*of->object);
    if (const Builtin* method = find_method(object, of->name))
      return call_builtin(*this, *method, object, evaluate_arguments(call_.arguments));
    return call(attribute(object, of->name), evaluate_arguments(call_.arguments));
  }
  const Value callee = evaluate(*call_.callee);
  Arguments all = evaluate_arguments(call_.arguments);
  for (auto& named : arguments.named) all.named.push_back(std::move(named));
  return call(callee, all);
}

Value Interpreter::evaluate(const Call& call) {
  return call_expression(call, {}, false);
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) budget_.fail("{}", *callee.as_undefined().why);
  Object* object = callee.object();
  if (object == nullptr || !object->callable()) budget_.fail("'{}' object is not callable", type_name(callee));
  const Budget::Level level(budget_);
  budget_.step();
  const int line = budget_.line();
  Value result = object->call(*this, arguments);
  budget_.at_line(line);
  return result;
}

Value Interpreter::evaluate(const Filter& filter) {
  if (filter.filter == nullptr) budget_.fail("there is no filter named '{}'", filter.name);
  const Value input = filter.input == nullptr ? *block_input_ : evaluate(*filter.input);
  return call_builtin(*this, *filter.filter, input, evaluate_arguments(filter.arguments));
}

Value Interpreter::apply_filter(const Expression& filter, Text input) {
  const Value block = text(std::move(input));
  const Value* outer = std::exchange(block_input_, &block);
  Value result = evaluate(filter);
  block_input_ = outer;
  return result;
}

Value Interpreter::evaluate(const Test& test) {
  if (test.test == nullptr) budget_.fail("there is no test named '{}'", test.name);
  const Value input = evaluate(*test.input);
  return truth(call_builtin(*this, *test.test, input, evaluate_arguments(test.arguments))) != test.negated;
}

// --- Operators.

Value Interpreter::evaluate(const Not& negation) {
  return !truth(evaluate(*negation.operand));
}

Value Interpreter::evaluate(const Sign& sign) {
  const Value value = evaluate(*sign.operand);
  if (value.is_undefined()) budget_.fail("{}", *value.as_undefined().why);
  if (!value.is_number()) budget_.fail("expected a number after a sign, found '{}'", type_name(value));
  if (sign.negative) return negative(budget_, value);
  return value.is_float() ? value : Value(value.integer(), value.source());
}

Value Interpreter::evaluate(const Arithmetic& arithmetic) {
  Value result = evaluate(*arithmetic.first);
  for (const auto& [op, operand] : arithmetic.rest) result = calculate(*this, op, result, evaluate(*operand));
  return result;
}

bool Interpreter::holds(Relation relation, const Value& a, const Value& b) {
  switch (relation) {
    case Relation::equal:
      return equal(budget_, a, b);
    case Relation::not_equal:
      return !equal(budget_, a, b);
    case Relation::in:
      return contains(budget_, b, a);
    case Relation::not_in:
      return !contains(budget_, b, a);
    default:
      break;
  }
  bool unordered = false;
  const int order = compare(budget_, a, b, &unordered);
  if (unordered) return false;
  if (relation == Relation::less) return order < 0;
  if (relation == Relation::less_equal) return order <= 0;
  return relation == Relation::greater ? order > 0 : order >= 0;
}

Value Interpreter::evaluate(const Comparison& comparison) {
  Value left = evaluate(*comparison.first);
  for (const auto& [relation, operand] : comparison.rest) {
    Value right = evaluate(*operand);
    if (!holds(relation, left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate(const Logic& logic) {
  Value value;
  for (const auto& operand : logic.operands) {
    value = evaluate(*operand);
    if (truth(value) == logic.any) break;
  }
  return value;
}

Value Interpreter::evaluate(const Concatenation& concatenation) {
  Text all;
  for (const auto& operand : concatenation.operands) {
    const Text part = to_text(budget_, evaluate(*operand));
    budget_.expect_room(all.size() + part.size());
    all.append(part);
  }
  return text(std::move(all));
}

Value Interpreter::evaluate(const Conditional& conditional) {
  if (truth(evaluate(*conditional.test))) return evaluate(*conditional.then);
  if (conditional.otherwise != nullptr) return evaluate(*conditional.otherwise);
  return Value::undefined("the inline 'if' was false and has no 'else'");
}

}  // namespace hearth::jinja
