#include <algorithm>

#include "runtime/jinja/objects.h"
#include "runtime/jinja/print.h"

namespace hearth::jinja {

void Scope::set(const std::string& name, Value value) {
  for (auto& [key, old] : names) {
    if (key != name) continue;
    old = std::move(value);
    return;
  }
  names.emplace_back(name, std::move(value));
}

class Interpreter::InScope {
 public:
  InScope(Interpreter& interpreter, std::shared_ptr<Scope> parent) : interpreter_(interpreter) {
    outer_ = std::exchange(interpreter.scope_, std::make_shared<Scope>(std::move(parent)));
  }
  explicit InScope(Interpreter& interpreter) : InScope(interpreter, interpreter.scope_) {}
  ~InScope() { interpreter_.scope_ = std::move(outer_); }
  InScope(const InScope&) = delete;

 private:
  Interpreter& interpreter_;
  std::shared_ptr<Scope> outer_;
};

Interpreter::Interpreter(const Context& context, std::time_t now, Budget& budget)
    : context_(context),
      now_(now),
      budget_(budget),
      kept_charge_(budget, 0),
      scope_(std::make_shared<Scope>(nullptr)) {}

Interpreter::~Interpreter() {
  scope_->release();
  for (const auto& holder : kept_) holder->release();
}

void Interpreter::keep(std::shared_ptr<Holder> holder) {
  if (!kept_.empty() && kept_.back() == holder) return;
  kept_charge_.grow(sizeof(holder) * 2);
  kept_.push_back(std::move(holder));
}

Text Interpreter::render(const Block& block) {
  return capture(block);
}

// --- Output.

void Interpreter::write(const Text& text) {
  budget_.step(text.size());
  output_->charge.grow(text.footprint() - sizeof(Text));
  output_->text.append(text);
}

Text Interpreter::capture(const Block& block) {
  Output output{{}, Charge(budget_, 0)};
  Output* outer = std::exchange(output_, &output);
  run(block);
  output_ = outer;
  return std::move(output.text);
}

Text Interpreter::capture_in_scope(const Block& block) {
  const InScope scope(*this);
  return capture(block);
}

Interpreter::Flow Interpreter::run(const Block& block) {
  const Budget::Level level(budget_);
  for (const Statement& statement : block) {
    budget_.step();
    budget_.at_line(statement.line);
    const Flow flow = std::visit([&](const auto& what) { return run(what); }, statement.what);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const Data& data) {
  write(data.text.text());
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const Print& print) {
  const Value value = evaluate(*print.value);
  if (value.is_text()) {
    write(value.text());
  } else {
    write(to_text(budget_, value));
  }
  return Flow::normal;
}

// --- Loops and conditions.

Values Interpreter::loop_items(const For& loop, const Value& iterable) {
  Values items = iterate(budget_, iterable);
  if (loop.condition == nullptr) return items;
  Values kept;
  for (Value& item : items) {
    const InScope scope(*this);
    assign(loop.target, item);
    if (truth(evaluate(*loop.condition))) kept.push_back(std::move(item));
  }
  return kept;
}

Interpreter::Flow Interpreter::run_loop(const For& loop, const Value& iterable, int depth) {
  auto state =
      std::make_shared<Loop>(budget_, loop_items(loop, iterable), depth, loop.recursive ? &loop : nullptr, scope_);
  bool completed = false;  // the body, once: Jinja goes on to the else where every round was left by break or continue
  for (size_t i = 0; i < state->size(); ++i) {
    const InScope scope(*this);
    assign(loop.target, state->start(i));
    scope_->set("loop", std::shared_ptr<Object>(state));
    const Flow flow = run(loop.body);
    completed = completed || flow == Flow::normal;
    if (flow == Flow::broken) break;
  }
  if (!completed) {
    const InScope scope(*this);
    return run(loop.otherwise);
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const For& loop) {
  const Value iterable = evaluate(*loop.iterable);
  return run_loop(loop, iterable, 0);
}

Text Interpreter::run_loop_again(const For& loop, const std::shared_ptr<Scope>& scope, const Value& iterable,
                                 int depth) {
  const auto outer_scope = std::exchange(scope_, scope);
  Output output{{}, Charge(budget_, 0)};
  Output* outer = std::exchange(output_, &output);
  run_loop(loop, iterable, depth);
  output_ = outer;
  scope_ = outer_scope;
  return std::move(output.text);
}

Interpreter::Flow Interpreter::run(const If& choice) {
  for (const auto& [test, block] : choice.branches)
    if (truth(evaluate(*test))) return run(block);
  return run(choice.otherwise);
}

// --- Names.

void Interpreter::assign(const Target& target, const Value& value) {
  budget_.step();
  if (!target.several.empty()) {
    const Values values = iterate(budget_, value);
    if (values.size() != target.several.size())
      budget_.fail("expected {} values to unpack, found {}", target.several.size(), values.size());
    for (size_t i = 0; i < values.size(); ++i) assign(target.several[i], values[i]);
  } else if (target.attribute.empty()) {
    budget_.step(scope_->names.size() * 4);
    scope_->set(target.name, value);
  } else {
    const Value* holder = find_variable(target.name);
    auto* space = holder == nullptr ? nullptr : dynamic_cast<Namespace*>(holder->object());
    if (space == nullptr)
      budget_.fail("expected a namespace to assign an attribute of, found '{}'",
                   holder == nullptr ? "Undefined" : type_name(*holder));
    space->set(budget_, target.attribute, value);
  }
}

Interpreter::Flow Interpreter::run(const Set& set) {
  assign(set.target, evaluate(*set.value));
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const SetBlock& set) {
  Text body = capture_in_scope(set.body);
  assign(set.target, set.filter == nullptr ? text(std::move(body)) : apply_filter(*set.filter, std::move(body)));
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const FilterBlock& filter) {
  write(to_text(budget_, apply_filter(*filter.filter, capture_in_scope(filter.body))));
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const With& with) {
  Values values;
  for (const auto& [target, value] : with.variables) values.push_back(evaluate(*value));
  const InScope scope(*this);
  for (size_t i = 0; i < values.size(); ++i) assign(with.variables[i].first, values[i]);
  return run(with.body);
}

// --- Macros.

std::shared_ptr<Object> Interpreter::make_macro(const MacroDefinition& macro) {
  keep(scope_);
  return std::make_shared<Macro>(budget_, macro, scope_);
}

Interpreter::Flow Interpreter::run(const MacroDefinition& macro) {
  scope_->set(macro.name, make_macro(macro));
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const CallBlock& call) {
  const Budget::Level level(budget_);
  Arguments arguments;
  arguments.named.emplace_back("caller", make_macro(call.caller));
  write(to_text(budget_, call_expression(std::get<Call>(call.call->what), std::move(arguments), true)));
  return Flow::normal;
}

Text Interpreter::run_macro(const MacroDefinition& macro, const std::shared_ptr<Scope>& scope,
                            const Arguments& arguments) {
  const InScope inside(*this, scope);
  bind_parameters(macro, arguments);
  return capture(macro.body);
}

void Interpreter::bind_parameters(const MacroDefinition& macro, const Arguments& arguments) {
  const auto& parameters = macro.parameters;
  const auto& given = arguments.positional;
  if (given.size() > parameters.size() && !macro.uses_varargs)
    budget_.fail("expected at most {} arguments for the macro '{}', found {}", parameters.size(), macro.name,
                 given.size());
  Entries others;
  Value caller = Value::undefined("no caller defined");
  std::vector<const Value*> named(parameters.size());
  for (const auto& [name, value] : arguments.named) {
    const auto parameter =
        std::find_if(parameters.begin(), parameters.end(), [&](const Parameter& p) { return p.name == name; });
    if (parameter != parameters.end()) {
      const size_t i = size_t(parameter - parameters.begin());
      if (i < given.size())
        budget_.fail("got several values for the argument '{}' of the macro '{}'", name, macro.name);
      named[i] = &value;
    } else if (name == "caller" && macro.uses_caller) {
      caller = value;
    } else if (macro.uses_kwargs) {
      others.emplace_back(Value::constant(name), value);
    } else {
      budget_.fail("the macro '{}' has no parameter '{}'", macro.name, name);
    }
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    Value value = i < given.size()      ? given[i]
                  : named[i] != nullptr ? *named[i]
                  : parameter.standard != nullptr
                      ? evaluate(*parameter.standard)
                      : Value::undefined("parameter '" + parameter.name + "' was not provided");
    scope_->set(parameter.name, std::move(value));
  }
  if (macro.uses_varargs) {
    const size_t rest = std::min(given.size(), parameters.size());
    scope_->set("varargs", make_list(budget_, Values(given.begin() + long(rest), given.end()), List::Kind::tuple));
  }
  if (macro.uses_kwargs) scope_->set("kwargs", make_dict(budget_, std::move(others)));
  if (macro.uses_caller) scope_->set("caller", std::move(caller));
}

}  // namespace hearth::jinja
