// Values of the template language: those of Python that templates meet. Immutable but for namespaces.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/jinja/budget.h"
#include "runtime/jinja/text.h"

namespace hearth::jinja {

class Interpreter;
class Object;
struct Arguments;
struct List;
struct Dict;

// Nested deeper than this, a value is refused: printing, comparing and freeing it are recursive.
constexpr int kMaxValueDepth = 150;

// What a missing variable, key or attribute gives: prints nothing, is false and empty, and fails with `why` when more
// is asked of it.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
struct None {};
// range(...), never written out.
struct Range {
  int64_t start = 0, step = 1, count = 0;
  int64_t stop = 0;  // as it was given: what is printed
  int64_t operator[](int64_t i) const { return start + i * step; }
};
struct CountedText {
  Text text;
  Charge charge;
  bool markup = false;  // given by the filters safe and escape: what is joined to it is escaped, as Jinja does
};

class Value {
 public:
  Value() : data_(None{}) {}
  Value(bool b, int source = 0) : data_(b), source_(source) {}
  Value(int64_t i, int source = 0) : data_(i), source_(source) {}
  Value(double d, int source = 0) : data_(d), source_(source) {}
  Value(Range r) : data_(r) {}
  Value(Undefined u) : data_(std::move(u)) {}
  Value(std::shared_ptr<const CountedText> t) : data_(std::move(t)) {}
  Value(std::shared_ptr<const List> l) : data_(std::move(l)) {}
  Value(std::shared_ptr<const Dict> d) : data_(std::move(d)) {}
  Value(std::shared_ptr<Object> o) : data_(std::move(o)) {}
  template <class T>
  Value(T*) = delete;  // not a bool
  // Strings of the program's own, such as an attribute's name: no budget, source 0.
  static Value constant(std::string text);
  static Value undefined(std::string why);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(data_) || is_bool(); }  // Python's bool is an int
  bool is_number() const { return is_integer() || is_float(); }
  bool is_text() const { return std::holds_alternative<std::shared_ptr<const CountedText>>(data_); }
  bool is_markup() const { return is_text() && std::get<std::shared_ptr<const CountedText>>(data_)->markup; }
  // A list, tuple, generator or view of a dict.
  const List* list() const { return pointer<const List>(); }
  const Dict* dict() const { return pointer<const Dict>(); }
  const Range* range() const { return std::get_if<Range>(&data_); }
  Object* object() const { return pointer<Object>(); }
  std::shared_ptr<Object> object_ref() const { return std::get<std::shared_ptr<Object>>(data_); }
  const Undefined& as_undefined() const { return std::get<Undefined>(data_); }
  const Text& text() const { return std::get<std::shared_ptr<const CountedText>>(data_)->text; }
  bool as_bool() const { return std::get<bool>(data_); }
  int64_t integer() const { return is_bool() ? int64_t(as_bool()) : std::get<int64_t>(data_); }
  double number() const { return is_float() ? std::get<double>(data_) : double(integer()); }

  // Of a number or bool that the caller gave, what its text will have; 0 for all others.
  int source() const { return source_; }

 private:
  template <class T>
  T* pointer() const {
    const auto* p = std::get_if<std::shared_ptr<T>>(&data_);
    return p == nullptr ? nullptr : p->get();
  }

  std::variant<Undefined, None, bool, int64_t, double, Range, std::shared_ptr<const CountedText>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>
      data_;
  int source_ = 0;
};

using Values = std::vector<Value>;
using Entries = std::vector<std::pair<Value, Value>>;

struct List {
  // What Python has for them: views and generators cannot be indexed, and a generator can be
  // gone through once. A group is the tuple that the filter groupby makes: (grouper, list).
  enum class Kind { list, tuple, group, generator, keys, values, items };
  Kind kind = Kind::list;
  Values items;
  int depth = 1;
  Charge charge;
  mutable bool spent = false;  // a generator that was gone through

  bool is_plain() const { return kind == Kind::list || kind == Kind::tuple || kind == Kind::group; }
};

struct Dict {
  Entries entries;  // in the order of insertion, keys differ
  int depth = 1;
  Charge charge;

  const Value* find(std::string_view key) const;
  const Value* find(Budget& budget, const Value& key) const;
};

// What can come to hold itself: the interpreter lets such things go at its end, so that none outlives it.
class Holder {
 public:
  virtual ~Holder() = default;
  virtual void release() {}
};

// Everything with behaviour of its own: functions, macros, bound methods, namespaces, loops.
class Object : public Holder {
 public:
  virtual std::string type() const = 0;  // as Python names it
  virtual int depth() const { return 1; }
  virtual bool callable() const { return false; }
  virtual Value attribute(Interpreter&, std::string_view name);  // undefined if there is none
  virtual Value call(Interpreter&, const Arguments&);            // if callable
};

// --- Making values; the budget pays.
Value make_text(Budget&, Text text, bool markup = false);
Value make_list(Budget&, Values items, List::Kind kind = List::Kind::list);
Value make_dict(Budget&, Entries entries);  // of equal keys the last value counts
int depth_of(const Value&);

// --- Python's questions.
std::string type_name(const Value&);
bool truth(const Value&);
bool equal(Budget&, const Value&, const Value&);
// Below 0, 0, above 0. Fails for what Python does not order; NaN is neither, which `unordered` tells.
int compare(Budget&, const Value&, const Value&, bool* unordered = nullptr);
bool contains(Budget&, const Value& container, const Value& item);
bool is_hashable(const Value&);
bool is_iterable(const Value&);
// What a `for` goes through. A generator is spent by it. Fails for what is not iterable.
Values iterate(Budget&, const Value&);
// len(); fails for what has none.
int64_t length(Budget&, const Value&);

}  // namespace hearth::jinja
