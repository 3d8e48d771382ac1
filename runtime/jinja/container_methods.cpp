// Methods of lists, dicts and the interpreter's own objects.
#include <algorithm>

#include "runtime/jinja/objects.h"

namespace hearth::jinja {

namespace {

// --- Of dicts.

Value dict_get(Interpreter& interpreter, const Value& dict, const Bound& args) {
  Budget& budget = interpreter.budget();
  if (!is_hashable(args[0])) budget.fail("unhashable type: '{}'", type_name(args[0]));
  const Value* value = dict.dict()->find(budget, args[0]);
  if (value != nullptr) return *value;
  return args.has(1) ? args[1] : Value();
}

Value dict_keys(Interpreter& interpreter, const Value& dict, const Bound&) {
  return make_list(interpreter.budget(), iterate(interpreter.budget(), dict), List::Kind::keys);
}

Value dict_values(Interpreter& interpreter, const Value& dict, const Bound&) {
  Values values;
  for (const auto& entry : dict.dict()->entries) values.push_back(entry.second);
  return make_list(interpreter.budget(), std::move(values), List::Kind::values);
}

Value dict_items(Interpreter& interpreter, const Value& dict, const Bound&) {
  Values pairs;
  for (const auto& [key, value] : dict.dict()->entries)
    pairs.push_back(make_list(interpreter.budget(), {key, value}, List::Kind::tuple));
  return make_list(interpreter.budget(), std::move(pairs), List::Kind::items);
}

Value same_again(Interpreter&, const Value& value, const Bound&) {
  return value;
}

constexpr Builtin kDictMethods[] = {
    {"copy", "", same_again},  // nothing changes either
    {"get", "key / default", dict_get}, {"items", "", dict_items}, {"keys", "", dict_keys}, {"values", "", dict_values},
};
constexpr const char* kForbiddenOfDicts[] = {"clear", "pop", "popitem", "setdefault", "update"};

// --- Of lists and tuples.

Value list_count(Interpreter& interpreter, const Value& list, const Bound& args) {
  const Values& items = list.list()->items;
  return int64_t(std::count_if(items.begin(), items.end(),
                               [&](const Value& v) { return equal(interpreter.budget(), v, args[0]); }));
}

Value list_index(Interpreter& interpreter, const Value& list, const Bound& args) {
  const Values& items = list.list()->items;
  const int64_t size = int64_t(items.size());
  const auto position = [&](int64_t i) { return i < 0 ? std::max<int64_t>(i + size, 0) : std::min(i, size); };
  const int64_t end = position(args.integer(2, size));
  for (int64_t i = position(args.integer(1, 0)); i < end; ++i)
    if (equal(interpreter.budget(), items[size_t(i)], args[0])) return i;
  interpreter.budget().fail("the value is not in the {}", type_name(list));
}

constexpr Builtin kListMethods[] = {
    {"copy", "", same_again},
    {"count", "value", list_count},
    {"index", "value / start stop", list_index},
};
constexpr const char* kForbiddenOfLists[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};

// --- Of loops and cyclers.

Value loop_cycle(Interpreter& interpreter, const Value& loop, const Bound& args) {
  return static_cast<Loop*>(loop.object())->cycle(interpreter, args.all);
}

Value loop_changed(Interpreter& interpreter, const Value& loop, const Bound& args) {
  interpreter.keep(loop.object_ref());  // it may be given itself
  return static_cast<Loop*>(loop.object())->changed(interpreter, args.all);
}

Value cycler_next(Interpreter&, const Value& cycler, const Bound&) {
  return static_cast<Cycler*>(cycler.object())->next();
}

Value cycler_reset(Interpreter&, const Value& cycler, const Bound&) {
  static_cast<Cycler*>(cycler.object())->reset();
  return {};
}

constexpr Builtin kLoopMethods[] = {{"changed", "...", loop_changed}, {"cycle", "...", loop_cycle}};
constexpr Builtin kCyclerMethods[] = {{"next", "", cycler_next}, {"reset", "", cycler_reset}};

}  // namespace

const Builtin* find_method(const Value& receiver, std::string_view name) {
  if (receiver.is_text()) return find_string_method(name);
  if (receiver.dict() != nullptr) return find_in(kDictMethods, name);
  if (const List* list = receiver.list()) {
    if (!list->is_plain() || (list->kind == List::Kind::tuple && name == "copy")) return nullptr;
    return find_in(kListMethods, name);
  }
  const Object* object = receiver.object();
  if (dynamic_cast<const Loop*>(object) != nullptr) return find_in(kLoopMethods, name);
  if (dynamic_cast<const Cycler*>(object) != nullptr) return find_in(kCyclerMethods, name);
  return nullptr;
}

bool is_forbidden_method(const Value& receiver, std::string_view name) {
  const auto among = [&](const auto& names) {
    return std::any_of(std::begin(names), std::end(names), [&](const char* n) { return name == n; });
  };
  if (receiver.dict() != nullptr) return among(kForbiddenOfDicts);
  return receiver.list() != nullptr && receiver.list()->kind == List::Kind::list && among(kForbiddenOfLists);
}

}  // namespace hearth::jinja
