// What a template is once parsed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/jinja/value.h"

namespace hearth::jinja {

struct Builtin;
struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<Expression>;
using Block = std::vector<Statement>;

// --- Expressions.

struct Constant {
  Value value;
};
struct Name {
  std::string name;
};
struct ListDisplay {
  std::vector<ExpressionPtr> items;
  bool tuple;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Item {
  ExpressionPtr object, key;
};
struct Slice {
  ExpressionPtr object, start, stop, step;  // null where left out
};
struct ArgumentList {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr more_positional, more_named;  // *args, **kwargs
};
struct Call {
  ExpressionPtr callee;
  ArgumentList arguments;
};
struct Filter {
  ExpressionPtr input;  // null: what a block wrote
  std::string name;
  const Builtin* filter;  // null: there is none of that name, which matters only where it is reached
  ArgumentList arguments;
};
struct Test {
  ExpressionPtr input;
  std::string name;
  const Builtin* test;  // as above
  ArgumentList arguments;
  bool negated;
};
struct Not {
  ExpressionPtr operand;
};
struct Sign {
  ExpressionPtr operand;
  bool negative;
};
enum class Operator { add, subtract, multiply, divide, floor_divide, modulo, power };
// a + b - c, from left to right.
struct Arithmetic {
  ExpressionPtr first;
  std::vector<std::pair<Operator, ExpressionPtr>> rest;
};
enum class Relation { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };
// a < b < c, as Python chains them.
struct Comparison {
  ExpressionPtr first;
  std::vector<std::pair<Relation, ExpressionPtr>> rest;
};
struct Logic {
  std::vector<ExpressionPtr> operands;
  bool any;  // or; else and
};
struct Concatenation {
  std::vector<ExpressionPtr> operands;
};
struct Conditional {
  ExpressionPtr test, then, otherwise;  // otherwise may be null
};

struct Expression {
  int line;
  std::variant<Constant, Name, ListDisplay, DictDisplay, Attribute, Item, Slice, Call, Filter, Test, Not, Sign,
               Arithmetic, Comparison, Logic, Concatenation, Conditional>
      what;
};

// --- Statements.

// What is assigned to: a name, namespace.attribute, or several of these.
struct Target {
  std::string name;
  std::string attribute;        // of the namespace `name`, or ""
  std::vector<Target> several;  // if not empty, the rest counts for nothing
};

struct Data {
  Value text;
};
struct Print {
  ExpressionPtr value;
};
struct For {
  Target target;
  ExpressionPtr iterable, condition;  // condition may be null
  bool recursive;
  Block body, otherwise;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {
  Target target;
  ExpressionPtr filter;  // applied to what the body writes; may be null
  Block body;
};
struct Parameter {
  std::string name;
  ExpressionPtr standard;  // null: undefined if not given
};
struct MacroDefinition {
  std::string name;
  std::vector<Parameter> parameters;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
  Block body;
};
struct CallBlock {
  ExpressionPtr call;
  MacroDefinition caller;
};
struct FilterBlock {
  ExpressionPtr filter;
  Block body;
};
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Block body;
};
struct Break {};
struct Continue {};

struct Statement {
  int line;
  std::variant<Data, Print, For, If, Set, SetBlock, MacroDefinition, CallBlock, FilterBlock, With, Break, Continue>
      what;
};

}  // namespace hearth::jinja
