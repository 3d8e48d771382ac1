// The filters, tests, functions and methods that there are: tables of names, parameters and what is called.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/jinja/value.h"

namespace hearth::jinja {

struct Builtin;

// As written at a call.
struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

// The arguments of one call, by the parameters of its Builtin.
class Bound {
 public:
  Bound(Interpreter& interpreter, const Builtin& builtin, const Arguments& arguments);

  bool has(size_t i) const { return i < values_.size() && values_[i].has_value(); }
  const Value& operator[](size_t i) const { return *values_[i]; }
  // Of what was not given, the default. Fails, naming the parameter, where the type is another.
  int64_t integer(size_t i, int64_t standard) const;
  bool boolean(size_t i, bool standard) const;
  const Text& text(size_t i) const;
  Text text(size_t i, const char* standard) const;

  const Arguments& all;  // of builtins that take any

 private:
  Interpreter& interpreter_;
  const Builtin& builtin_;
  std::vector<std::optional<Value>> values_;
};

using Function = Value (*)(Interpreter&, const Value& input, const Bound&);

struct Builtin {
  const char* name;
  // Separated by spaces; those after "/" may be left out. "..." at the end: any others too.
  const char* parameters;
  Function function;
  bool keeps_markup = false;  // strings that come out are markup if what went in is
};

constexpr bool kKeepsMarkup = true;

const Builtin* find_in(std::span<const Builtin> table, std::string_view name);
// Null if there is none of that name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);  // range, namespace, raise_exception, ...
// Methods of strings, lists and dicts; null for other values too. Those that would change a list or dict are forbidden
// in the sandbox in which templates run.
const Builtin* find_method(const Value& receiver, std::string_view name);
const Builtin* find_string_method(std::string_view name);
bool is_forbidden_method(const Value& receiver, std::string_view name);

// Calls it, after binding and checking the arguments. `input` is what a filter, test or method is of.
Value call_builtin(Interpreter&, const Builtin&, const Value& input, const Arguments&);

}  // namespace hearth::jinja
