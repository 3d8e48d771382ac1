#include "runtime/jinja/objects.h"

#include <algorithm>

namespace hearth::jinja {

namespace {

int depth_of_all(Budget& budget, const Values& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  if (depth >= kMaxValueDepth) budget.fail("expected values nested at most {} deep, found deeper", kMaxValueDepth);
  return depth + 1;
}

}  // namespace

// --- Namespace.

Value Namespace::attribute(Interpreter& interpreter, std::string_view name) {
  interpreter.budget().step(attributes_.size() * 4);
  for (const auto& [key, value] : attributes_)
    if (key == name) return value;
  return Object::attribute(interpreter, name);
}

void Namespace::set(Budget& budget, std::string_view name, Value value) {
  budget.step(attributes_.size() * 4);
  for (auto& [key, old] : attributes_) {
    if (key != name) continue;
    old = std::move(value);
    return;
  }
  charge_.grow(sizeof(attributes_[0]) + name.size());
  attributes_.emplace_back(name, std::move(value));
}

// --- Loop.

Loop::Loop(Budget& budget, Values items, int level, const For* recursive, std::shared_ptr<Scope> scope)
    : items_(std::move(items)),
      charge_(budget, sizeof(Loop) + items_.capacity() * sizeof(Value)),
      level_(level),
      depth_(depth_of_all(budget, items_)),
      recursive_(recursive),
      scope_(recursive == nullptr ? nullptr : std::move(scope)) {}

Value Loop::attribute(Interpreter& interpreter, std::string_view name) {
  const int64_t index = int64_t(index_), n = int64_t(items_.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == n;
  if (name == "length") return n;
  if (name == "revindex") return n - index;
  if (name == "revindex0") return n - index - 1;
  if (name == "depth") return int64_t(level_) + 1;
  if (name == "depth0") return int64_t(level_);
  if (name == "previtem") return index > 0 ? items_[index_ - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return index + 1 < n ? items_[index_ + 1] : Value::undefined("there is no next item");
  return Object::attribute(interpreter, name);
}

Value Loop::call(Interpreter& interpreter, const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    interpreter.budget().fail("expected one argument, what to go through, for loop(...)");
  return interpreter.text(interpreter.run_loop_again(*recursive_, scope_, arguments.positional[0], level_ + 1));
}

Value Loop::cycle(Interpreter& interpreter, const Arguments& arguments) const {
  const Values& values = arguments.positional;
  if (values.empty()) interpreter.budget().fail("expected at least one value for loop.cycle(...)");
  return values[index_ % values.size()];
}

bool Loop::changed(Interpreter& interpreter, const Arguments& arguments) {
  Budget& budget = interpreter.budget();
  const Values& now = arguments.positional;
  const auto same = [&](const Value& a, const Value& b) { return equal(budget, a, b); };
  if (last_changed_ && std::equal(now.begin(), now.end(), last_changed_->begin(), last_changed_->end(), same))
    return false;
  charge_.grow(now.size() * sizeof(Value));
  last_changed_ = now;
  return true;
}

// --- Macro.

Value Macro::attribute(Interpreter& interpreter, std::string_view name) {
  if (name == "name") return Value::constant(macro_.name);
  if (name != "arguments") return Object::attribute(interpreter, name);
  Values names;
  for (const Parameter& parameter : macro_.parameters) names.push_back(Value::constant(parameter.name));
  return make_list(interpreter.budget(), std::move(names), List::Kind::tuple);
}

Value Macro::call(Interpreter& interpreter, const Arguments& arguments) {
  return interpreter.text(interpreter.run_macro(macro_, scope_, arguments));
}

// --- Cycler and joiner.

Cycler::Cycler(Budget& budget, Values items)
    : items_(std::move(items)),
      charge_(budget, sizeof(Cycler) + items_.size() * sizeof(Value)),
      depth_(depth_of_all(budget, items_)) {
  if (items_.empty()) budget.fail("at least one item has to be provided");
}

Value Cycler::attribute(Interpreter& interpreter, std::string_view name) {
  return name == "current" ? current() : Object::attribute(interpreter, name);
}

Value Cycler::next() {
  const Value value = current();
  index_ = (index_ + 1) % items_.size();
  return value;
}

Value Joiner::call(Interpreter&, const Arguments&) {
  if (std::exchange(used_, true)) return separator_;
  return Value::constant("");
}

}  // namespace hearth::jinja
