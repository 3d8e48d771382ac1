// What is inside a value: object.name, object[key], object[start:stop:step].
#include <algorithm>

#include "runtime/jinja/objects.h"
#include "runtime/jinja/print.h"

namespace hearth::jinja {

namespace {

Value missing(const Value& object, std::string_view name) {
  return Value::undefined(fmt::format("'{} object' has no attribute '{}'", type_name(object), name));
}

Value missing_item(Budget& budget, const Value& object, const Value& key) {
  if (key.is_text()) return missing(object, key.text().bytes());
  Text name;
  append_repr(budget, name, key);
  return Value::undefined(fmt::format("'{} object' has no element {}", type_name(object), name.bytes()));
}

// The attribute proper, as getattr() has it; nothing if there is none.
std::optional<Value> own_attribute(Interpreter& interpreter, const Value& object, std::string_view name) {
  Budget& budget = interpreter.budget();
  if (const Builtin* method = find_method(object, name))
    return std::shared_ptr<Object>(new BuiltinObject(budget, *method, object));
  if (is_forbidden_method(object, name))
    return Value::undefined(
        fmt::format("'{}' of a '{}' would change it, which no template may", name, type_name(object)));
  if (const List* list = object.list(); list != nullptr && list->kind == List::Kind::group) {
    if (name == "grouper") return list->items[0];
    if (name == "list") return list->items[1];
  }
  if (Object* special = object.object()) {
    Value value = special->attribute(interpreter, name);
    if (!value.is_undefined()) return value;
  }
  return std::nullopt;
}

std::optional<size_t> index_in(int64_t index, int64_t size) {
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return size_t(index);
}

std::optional<Value> indexed(Budget& budget, const Value& object, int64_t index) {
  if (object.is_text()) {
    const Text& text = object.text();
    budget.step(text.size());
    if (index < 0) index += int64_t(text.length());
    const size_t begin = index < 0 ? text.size() : text.position_of(size_t(index));
    if (begin >= text.size()) return std::nullopt;
    size_t end = begin;
    next_code_point(text.bytes(), end);
    return make_text(budget, text.slice(begin, end), object.is_markup());
  }
  if (const List* list = object.list(); list != nullptr && list->is_plain()) {
    const auto i = index_in(index, int64_t(list->items.size()));
    if (i) return list->items[*i];
  }
  if (const Range* range = object.range()) {
    const auto i = index_in(index, range->count);
    if (i) return Value((*range)[int64_t(*i)]);
  }
  return std::nullopt;
}

// Python's slice.indices(): positions from `start` by `step`, `count` of them.
Range slice_positions(Budget& budget, const Value& start, const Value& stop, const Value& step, int64_t size) {
  for (const Value* v : {&start, &stop, &step})
    if (!v->is_none() && !v->is_integer()) budget.fail("expected integers in a slice, found '{}'", type_name(*v));
  const int64_t by = step.is_none() ? 1 : step.integer();
  if (by == 0) budget.fail("expected a slice's step other than 0, found 0");
  const int64_t lowest = by < 0 ? -1 : 0, highest = by < 0 ? size - 1 : size;
  const auto position = [&](const Value& v, int64_t standard) {
    if (v.is_none()) return standard;
    const int64_t i = v.integer();
    return i < 0 ? std::max(i + size, lowest) : std::min(i, highest);
  };
  const int64_t from = position(start, by < 0 ? highest : lowest);
  const int64_t to = position(stop, by < 0 ? lowest : highest);
  if (by > 0) return {from, by, to > from ? (to - from - 1) / by + 1 : 0, to};
  return {from, by, from > to ? int64_t(uint64_t(from - to - 1) / (0 - uint64_t(by))) + 1 : 0, to};
}

Text slice_of_text(Budget& budget, const Text& text, const Value& start, const Value& stop, const Value& step) {
  budget.step(text.size());
  const Range positions = slice_positions(budget, start, stop, step, int64_t(text.length()));
  if (positions.count == 0) return {};
  if (positions.step == 1) {
    const size_t begin = text.position_of(size_t(positions.start));
    return text.slice(begin, text.position_of(size_t(positions.start + positions.count)));
  }
  budget.step(text.size() * 4);
  budget.expect_room(text.size() * sizeof(size_t));
  std::vector<size_t> begins;
  for (size_t at = 0; at < text.size(); next_code_point(text.bytes(), at)) begins.push_back(at);
  begins.push_back(text.size());
  Text out;
  for (int64_t i = 0; i < positions.count; ++i) {
    const size_t at = size_t(positions[i]);
    out.append(text, begins[at], begins[at + 1]);
  }
  return out;
}

}  // namespace

Value Interpreter::attribute(const Value& object, std::string_view name) {
  budget_.step();
  if (object.is_undefined()) budget_.fail("{}", *object.as_undefined().why);
  if (auto value = own_attribute(*this, object, name)) return *value;
  if (const Dict* dict = object.dict()) {
    budget_.step(dict->entries.size() * 4);
    if (const Value* value = dict->find(name)) return *value;
  }
  return missing(object, name);
}

Value Interpreter::item(const Value& object, const Value& key) {
  budget_.step();
  if (object.is_undefined()) budget_.fail("{}", *object.as_undefined().why);
  if (const Dict* dict = object.dict(); dict != nullptr && is_hashable(key)) {
    if (const Value* value = dict->find(budget_, key)) return *value;
  }
  if (key.is_integer()) {
    if (auto value = indexed(budget_, object, key.integer())) return *value;
  }
  if (key.is_text()) {
    if (auto value = own_attribute(*this, object, key.text().bytes())) return *value;
  }
  return missing_item(budget_, object, key);
}

Value Interpreter::slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) budget_.fail("{}", *object.as_undefined().why);
  if (object.is_text()) return text(slice_of_text(budget_, object.text(), start, stop, step), object.is_markup());
  if (const List* list = object.list(); list != nullptr && list->is_plain()) {
    const Range positions = slice_positions(budget_, start, stop, step, int64_t(list->items.size()));
    Values items;
    for (int64_t i = 0; i < positions.count; ++i) items.push_back(list->items[size_t(positions[i])]);
    return make_list(budget_, std::move(items), list->kind);
  }
  if (const Range* range = object.range()) {
    const Range positions = slice_positions(budget_, start, stop, step, range->count);
    const int64_t stop = positions.stop * range->step + range->start;
    return Range{range->start + positions.start * range->step, range->step * positions.step, positions.count, stop};
  }
  return Value::undefined(fmt::format("'{}' object cannot be sliced", type_name(object)));
}

}  // namespace hearth::jinja
