#include "runtime/jinja/builtins.h"

#include <algorithm>

#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/print.h"

namespace hearth::jinja {

namespace {

struct Parameters {
  std::vector<std::string_view> names;
  size_t required = 0;
  bool any = false;  // any others too
};

Parameters parameters_of(const Builtin& builtin) {
  Parameters parameters;
  bool optional = false;
  for (std::string_view rest = builtin.parameters; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    if (word == "/") {
      optional = true;
    } else if (word == "...") {
      parameters.any = true;
    } else {
      parameters.names.push_back(word);
      parameters.required += !optional;
    }
  }
  return parameters;
}

}  // namespace

Bound::Bound(Interpreter& interpreter, const Builtin& builtin, const Arguments& arguments)
    : all(arguments), interpreter_(interpreter), builtin_(builtin) {
  Budget& budget = interpreter.budget();
  const Parameters parameters = parameters_of(builtin);
  values_.resize(parameters.names.size());
  const size_t n = arguments.positional.size();
  if (n > values_.size() && !parameters.any)
    budget.fail("expected at most {} arguments for '{}', found {}", values_.size(), builtin.name, n);
  for (size_t i = 0; i < std::min(n, values_.size()); ++i) values_[i] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(parameters.names.begin(), parameters.names.end(), name);
    if (found == parameters.names.end()) {
      if (!parameters.any) budget.fail("'{}' has no argument '{}'", builtin.name, name);
      continue;
    }
    auto& slot = values_[size_t(found - parameters.names.begin())];
    if (slot) budget.fail("got several values for the argument '{}' of '{}'", name, builtin.name);
    slot = value;
  }
  for (size_t i = 0; i < parameters.required; ++i)
    if (!values_[i]) budget.fail("'{}' lacks its argument '{}'", builtin.name, parameters.names[i]);
}

int64_t Bound::integer(size_t i, int64_t standard) const {
  if (!has(i)) return standard;
  const Value& value = (*this)[i];
  if (!value.is_integer())
    interpreter_.budget().fail("expected an integer as argument {} of '{}', found '{}'", i + 1, builtin_.name,
                               type_name(value));
  return value.integer();
}

bool Bound::boolean(size_t i, bool standard) const {
  return has(i) ? truth((*this)[i]) : standard;
}

const Text& Bound::text(size_t i) const {
  const Value& value = (*this)[i];
  if (!value.is_text())
    interpreter_.budget().fail("expected a string as argument {} of '{}', found '{}'", i + 1, builtin_.name,
                               type_name(value));
  return value.text();
}

Text Bound::text(size_t i, const char* standard) const {
  return has(i) ? text(i) : Text(standard);
}

const Builtin* find_in(std::span<const Builtin> table, std::string_view name) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const Builtin& b) { return name == b.name; });
  return found == table.end() ? nullptr : &*found;
}

namespace {

Value as_markup(Budget& budget, const Value& value) {
  if (value.is_text()) return make_text(budget, value.text(), true);
  const List* list = value.list();
  if (list == nullptr) return value;
  Values items;
  for (const Value& item : list->items) items.push_back(as_markup(budget, item));
  return make_list(budget, std::move(items), list->kind);
}

}  // namespace

Value call_builtin(Interpreter& interpreter, const Builtin& builtin, const Value& input, const Arguments& arguments) {
  const Budget::Level level(interpreter.budget());
  interpreter.budget().step();
  const Value result = builtin.function(interpreter, input, Bound(interpreter, builtin, arguments));
  return builtin.keeps_markup && input.is_markup() ? as_markup(interpreter.budget(), result) : result;
}

}  // namespace hearth::jinja
