// Values that have behaviour of their own.
#pragma once

#include "runtime/jinja/interpreter.h"

namespace hearth::jinja {

class Namespace : public Object {
 public:
  explicit Namespace(Charge charge) : charge_(std::move(charge)) {}
  std::string type() const override { return "Namespace"; }
  Value attribute(Interpreter&, std::string_view name) override;
  void set(Budget&, std::string_view name, Value value);
  void release() override { std::exchange(attributes_, {}).clear(); }

 private:
  std::vector<std::pair<std::string, Value>> attributes_;
  Charge charge_;
};

// `loop`, of one `for`.
class Loop : public Object {
 public:
  // `recursive`: where loop(...) goes through the body again; the scope is the one around it. Null: not recursive.
  Loop(Budget&, Values items, int level, const For* recursive, std::shared_ptr<Scope> scope);
  std::string type() const override { return "LoopContext"; }
  int depth() const override { return depth_; }
  bool callable() const override { return recursive_ != nullptr; }
  Value attribute(Interpreter&, std::string_view name) override;
  Value call(Interpreter&, const Arguments&) override;
  void release() override { std::exchange(last_changed_, {}).reset(); }

  size_t size() const { return items_.size(); }
  const Value& start(size_t index) { return items_[index_ = index]; }
  Value cycle(Interpreter&, const Arguments&) const;
  bool changed(Interpreter&, const Arguments&);

 private:
  Values items_;
  Charge charge_;
  size_t index_ = 0;
  int level_;
  int depth_;
  const For* recursive_;
  std::shared_ptr<Scope> scope_;
  std::optional<Values> last_changed_;
};

class Macro : public Object {
 public:
  Macro(Budget& budget, const MacroDefinition& macro, std::shared_ptr<Scope> scope)
      : macro_(macro), scope_(std::move(scope)), charge_(budget, sizeof(Macro)) {}
  std::string type() const override { return "Macro"; }
  bool callable() const override { return true; }
  Value attribute(Interpreter&, std::string_view name) override;
  Value call(Interpreter&, const Arguments&) override;

 private:
  const MacroDefinition& macro_;
  std::shared_ptr<Scope> scope_;  // where it was defined
  Charge charge_;
};

// A function, or a method together with what it is of.
class BuiltinObject : public Object {
 public:
  BuiltinObject(Budget& budget, const Builtin& builtin, Value receiver)
      : builtin_(builtin), receiver_(std::move(receiver)), charge_(budget, sizeof(BuiltinObject)) {}
  std::string type() const override { return "builtin_function_or_method"; }
  int depth() const override { return depth_of(receiver_) + 1; }
  bool callable() const override { return true; }
  Value call(Interpreter& interpreter, const Arguments& arguments) override {
    return call_builtin(interpreter, builtin_, receiver_, arguments);
  }

 private:
  const Builtin& builtin_;
  Value receiver_;
  Charge charge_;
};

class Cycler : public Object {
 public:
  Cycler(Budget& budget, Values items);
  std::string type() const override { return "Cycler"; }
  int depth() const override { return depth_; }
  Value attribute(Interpreter&, std::string_view name) override;
  const Value& current() const { return items_[index_]; }
  Value next();
  void reset() { index_ = 0; }

 private:
  Values items_;
  Charge charge_;
  size_t index_ = 0;
  int depth_;
};

// Called: nothing the first time, the separator later.
class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string type() const override { return "Joiner"; }
  int depth() const override { return depth_of(separator_) + 1; }
  bool callable() const override { return true; }
  Value call(Interpreter&, const Arguments&) override;

 private:
  Value separator_;
  bool used_ = false;
};

}  // namespace hearth::jinja
