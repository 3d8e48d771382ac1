#include "runtime/jinja/value.h"

#include <algorithm>
#include <cmath>

namespace hearth::jinja {

Value Value::constant(std::string text) {
  return std::shared_ptr<const CountedText>(new CountedText{Text(std::move(text)), {}, false});
}

Value Value::undefined(std::string why) {
  return Undefined{std::make_shared<const std::string>(std::move(why))};
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries)
    if (name.is_text() && name.text().bytes() == key) return &value;
  return nullptr;
}

const Value* Dict::find(Budget& budget, const Value& key) const {
  budget.step(entries.size() * 4);
  if (key.is_text()) return find(key.text().bytes());
  for (const auto& [name, value] : entries)
    if (equal(budget, name, key)) return &value;
  return nullptr;
}

Value Object::attribute(Interpreter&, std::string_view name) {
  return Value::undefined(fmt::format("'{} object' has no attribute '{}'", type(), name));
}

Value Object::call(Interpreter&, const Arguments&) {
  return {};
}

// --- Making values.

Value make_text(Budget& budget, Text text, bool markup) {
  budget.step(text.size());
  Charge charge(budget, text.footprint() + sizeof(CountedText));
  return std::shared_ptr<const CountedText>(new CountedText{std::move(text), std::move(charge), markup});
}

int depth_of(const Value& value) {
  if (const List* list = value.list()) return list->depth;
  if (const Dict* dict = value.dict()) return dict->depth;
  if (const Object* object = value.object()) return object->depth();
  return 0;
}

namespace {

int checked_depth(Budget& budget, int depth) {
  if (depth > kMaxValueDepth) budget.fail("expected values nested at most {} deep, found deeper", kMaxValueDepth);
  return depth;
}

bool is_generator_spent(const List& list) {
  return list.kind == List::Kind::generator && list.spent;
}

}  // namespace

Value make_list(Budget& budget, Values items, List::Kind kind) {
  budget.step(items.size() * sizeof(Value) / 4);
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  depth = checked_depth(budget, depth + 1);
  Charge charge(budget, sizeof(List) + items.capacity() * sizeof(Value));
  return std::shared_ptr<const List>(new List{kind, std::move(items), depth, std::move(charge)});
}

Value make_dict(Budget& budget, Entries entries) {
  Entries kept;
  kept.reserve(entries.size());
  int depth = 0;
  for (auto& [key, value] : entries) {
    if (!is_hashable(key)) budget.fail("unhashable type: '{}'", type_name(key));
    depth = std::max({depth, depth_of(key), depth_of(value)});
    budget.step(kept.size() * 4);
    const auto same =
        std::find_if(kept.begin(), kept.end(), [&](const auto& e) { return equal(budget, e.first, key); });
    if (same == kept.end()) {
      kept.emplace_back(std::move(key), std::move(value));
    } else {
      same->second = std::move(value);
    }
  }
  depth = checked_depth(budget, depth + 1);
  Charge charge(budget, sizeof(Dict) + kept.capacity() * 2 * sizeof(Value));
  return std::shared_ptr<const Dict>(new Dict{std::move(kept), depth, std::move(charge)});
}

// --- Python's questions.

std::string type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.is_bool()) return "bool";
  if (value.is_float()) return "float";
  if (value.is_integer()) return "int";
  if (value.is_text()) return "str";
  if (value.range() != nullptr) return "range";
  if (value.dict() != nullptr) return "dict";
  if (const Object* object = value.object()) return object->type();
  switch (value.list()->kind) {
    case List::Kind::list:
      return "list";
    case List::Kind::tuple:
      return "tuple";
    case List::Kind::group:
      return "_GroupTuple";
    case List::Kind::generator:
      return "generator";
    case List::Kind::keys:
      return "dict_keys";
    case List::Kind::values:
      return "dict_values";
    case List::Kind::items:
      return "dict_items";
  }
  return "";
}

bool truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_float()) return value.number() != 0;
  if (value.is_integer()) return value.integer() != 0;
  if (value.is_text()) return !value.text().empty();
  if (const Range* range = value.range()) return range->count > 0;
  if (const Dict* dict = value.dict()) return !dict->entries.empty();
  if (const List* list = value.list()) return list->kind == List::Kind::generator || !list->items.empty();
  return true;
}

namespace {

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) return a.integer() == b.integer();
  return a.number() == b.number();
}

bool equal_dicts(Budget& budget, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(budget, entry.first);
    return other != nullptr && equal(budget, entry.second, *other);
  });
}

bool equal_lists(Budget& budget, const List& a, const List& b) {
  if (&a == &b) return true;
  if (a.kind != b.kind || !a.is_plain() || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i)
    if (!equal(budget, a.items[i], b.items[i])) return false;
  return true;
}

bool equal_ranges(const Range& a, const Range& b) {
  return a.count == b.count && (a.count == 0 || (a.start == b.start && (a.count == 1 || a.step == b.step)));
}

}  // namespace

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.step();
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.is_text() && b.is_text()) {
    if (a.text().size() == b.text().size()) budget.step(a.text().size());
    return a.text().bytes() == b.text().bytes();
  }
  if (a.list() != nullptr && b.list() != nullptr) return equal_lists(budget, *a.list(), *b.list());
  if (a.dict() != nullptr && b.dict() != nullptr) return equal_dicts(budget, *a.dict(), *b.dict());
  if (a.range() != nullptr && b.range() != nullptr) return equal_ranges(*a.range(), *b.range());
  if (a.object() != nullptr) return a.object() == b.object();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

int compare(Budget& budget, const Value& a, const Value& b, bool* unordered) {
  budget.step();
  const auto three_way = [](auto x, auto y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_number() && b.is_number()) {
    if (a.is_integer() && b.is_integer()) return three_way(a.integer(), b.integer());
    if (unordered != nullptr && (std::isnan(a.number()) || std::isnan(b.number()))) *unordered = true;
    return three_way(a.number(), b.number());
  }
  if (a.is_text() && b.is_text()) {  // the order of UTF-8 is that of code points
    budget.step(std::min(a.text().size(), b.text().size()));
    return three_way(a.text().bytes().compare(b.text().bytes()), 0);
  }
  const List *x = a.list(), *y = b.list();
  if (x != nullptr && y != nullptr && x->kind == y->kind && x->is_plain()) {
    for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i)
      if (!equal(budget, x->items[i], y->items[i])) return compare(budget, x->items[i], y->items[i], unordered);
    return three_way(x->items.size(), y->items.size());
  }
  for (const Value* v : {&a, &b})
    if (v->is_undefined()) budget.fail("{}", *v->as_undefined().why);
  budget.fail("expected two values that can be ordered, found '{}' and '{}'", type_name(a), type_name(b));
}

bool contains(Budget& budget, const Value& container, const Value& item) {
  budget.step();
  if (container.is_text()) {
    if (item.is_undefined()) budget.fail("{}", *item.as_undefined().why);
    if (!item.is_text()) budget.fail("'in <string>' requires string as left operand, not {}", type_name(item));
    budget.step(container.text().size());
    return container.text().bytes().find(item.text().bytes()) != std::string::npos;
  }
  if (const Dict* dict = container.dict()) {
    if (!is_hashable(item)) budget.fail("unhashable type: '{}'", type_name(item));
    return dict->find(budget, item) != nullptr;
  }
  if (const Range* range = container.range(); range != nullptr && item.is_integer()) {
    if (range->count == 0) return false;
    const __int128 distance = __int128(item.integer()) - range->start;
    return distance % range->step == 0 && distance / range->step >= 0 && distance / range->step < range->count;
  }
  const Values items = iterate(budget, container);
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(budget, v, item); });
}

bool is_hashable(const Value& value) {
  if (value.dict() != nullptr) return false;
  const List* list = value.list();
  if (list == nullptr) return true;
  if (list->kind == List::Kind::tuple) return std::all_of(list->items.begin(), list->items.end(), is_hashable);
  return list->kind == List::Kind::generator;
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.is_text() || value.list() != nullptr || value.dict() != nullptr ||
         value.range() != nullptr;
}

namespace {

Values code_points(Budget& budget, const Text& text) {
  Values items;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    next_code_point(text.bytes(), end);
    items.push_back(make_text(budget, text.slice(begin, end)));
    begin = end;
  }
  return items;
}

}  // namespace

Values iterate(Budget& budget, const Value& value) {
  budget.step();
  if (value.is_undefined()) return {};
  if (value.is_text()) return code_points(budget, value.text());
  Values items;
  if (const List* list = value.list()) {
    if (is_generator_spent(*list)) return {};
    budget.step(list->items.size() * 4);
    items = list->items;
    list->spent = true;
  } else if (const Dict* dict = value.dict()) {
    budget.step(dict->entries.size() * 4);
    for (const auto& entry : dict->entries) items.push_back(entry.first);
  } else if (const Range* range = value.range()) {
    budget.expect_room(size_t(range->count) * sizeof(Value));
    budget.step(size_t(range->count) * 4);
    for (int64_t i = 0; i < range->count; ++i) items.push_back((*range)[i]);
  } else {
    budget.fail("'{}' object is not iterable", type_name(value));
  }
  return items;
}

int64_t length(Budget& budget, const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_text()) {
    budget.step(value.text().size());
    return int64_t(value.text().length());
  }
  if (const Dict* dict = value.dict()) return int64_t(dict->entries.size());
  if (const Range* range = value.range()) return range->count;
  const List* list = value.list();
  if (list == nullptr || list->kind == List::Kind::generator)
    budget.fail("object of type '{}' has no len()", type_name(value));
  return int64_t(list->items.size());
}

}  // namespace hearth::jinja
