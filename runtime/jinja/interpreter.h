// Evaluates a parsed template.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/jinja/ast.h"
#include "runtime/jinja/builtins.h"

namespace hearth::jinja {

// The names that a block sets, and where those of the blocks around it are.
struct Scope : Holder {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> names;

  explicit Scope(std::shared_ptr<Scope> parent) : parent(std::move(parent)) {}
  void set(const std::string& name, Value value);
  void release() override { std::exchange(names, {}).clear(); }
};

using Context = std::vector<std::pair<std::string, Value>>;  // the caller's variables

class Interpreter {
 public:
  // `now`: for strftime_now; all three are used until the end.
  Interpreter(const Context& context, std::time_t now, Budget& budget);
  ~Interpreter();

  Text render(const Block& block);

  Budget& budget() { return budget_; }
  std::time_t now() const { return now_; }
  Value text(Text text, bool markup = false) { return make_text(budget_, std::move(text), markup); }

  // --- What builtins ask for.
  Value call(const Value& callee, const Arguments& arguments);
  Value attribute(const Value& object, std::string_view name);  // object.name
  Value item(const Value& object, const Value& key);            // object[key]
  Value slice(const Value& object, const Value& start, const Value& stop, const Value& step);
  void keep(std::shared_ptr<Holder> holder);

  // --- What macros and recursive loops ask for.
  Text run_macro(const MacroDefinition& macro, const std::shared_ptr<Scope>& scope, const Arguments& arguments);
  Text run_loop_again(const For& loop, const std::shared_ptr<Scope>& scope, const Value& iterable, int depth);

 private:
  enum class Flow { normal, broken, continued };
  struct Output {
    Text text;
    Charge charge;
  };
  class InScope;  // a scope, while it lives

  // --- Statements (statements.cpp).
  Flow run(const Block& block);
  Flow run(const Data& data);
  Flow run(const Print& print);
  Flow run(const For& loop);
  Flow run(const If& choice);
  Flow run(const Set& set);
  Flow run(const SetBlock& set);
  Flow run(const MacroDefinition& macro);
  Flow run(const CallBlock& call);
  Flow run(const FilterBlock& filter);
  Flow run(const With& with);
  Flow run(const Break&) { return Flow::broken; }
  Flow run(const Continue&) { return Flow::continued; }
  void write(const Text& text);
  // What running the block writes.
  Text capture(const Block& block);
  Text capture_in_scope(const Block& block);
  Flow run_loop(const For& loop, const Value& iterable, int depth);
  Values loop_items(const For& loop, const Value& iterable);
  void assign(const Target& target, const Value& value);
  std::shared_ptr<Object> make_macro(const MacroDefinition& macro);
  void bind_parameters(const MacroDefinition& macro, const Arguments& arguments);

  // --- Expressions (expressions.cpp).
  Value evaluate(const Expression& expression);
  Value evaluate(const Constant& constant) { return constant.value; }
  Value evaluate(const Name& name);
  Value evaluate(const ListDisplay& list);
  Value evaluate(const DictDisplay& dict);
  Value evaluate(const Attribute& attribute);
  Value evaluate(const Item& item);
  Value evaluate(const Slice& slice);
  Value evaluate(const Call& call);
  Value evaluate(const Filter& filter);
  Value evaluate(const Test& test);
  Value evaluate(const Not& negation);
  Value evaluate(const Sign& sign);
  Value evaluate(const Arithmetic& arithmetic);
  Value evaluate(const Comparison& comparison);
  Value evaluate(const Logic& logic);
  Value evaluate(const Concatenation& concatenation);
  Value evaluate(const Conditional& conditional);
  bool holds(Relation relation, const Value& left, const Value& right);
  Arguments evaluate_arguments(const ArgumentList& list);
  const Value* find_variable(std::string_view name) const;
  Value call_expression(const Call& call, Arguments arguments, bool with_caller);
  Value apply_filter(const Expression& filter, Text input);

  const Context& context_;
  const std::time_t now_;
  Budget& budget_;
  std::vector<std::shared_ptr<Holder>> kept_;
  Charge kept_charge_;
  std::shared_ptr<Scope> scope_;
  Output* output_ = nullptr;
  const Value* block_input_ = nullptr;  // of the filters of a block
};

// a + b and its like (operators.cpp).
Value calculate(Interpreter&, Operator, const Value& a, const Value& b);
Value negative(Budget&, const Value&);

}  // namespace hearth::jinja
