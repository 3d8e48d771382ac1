// Filters of lists and other things that are gone through.
#include <algorithm>
#include <numeric>

#include "runtime/jinja/filters.h"
#include "runtime/jinja/print.h"
#include "runtime/jinja/text_tools.h"

namespace hearth::jinja {

namespace {

Value generator(Interpreter& i, Values items) {
  return make_list(i.budget(), std::move(items), List::Kind::generator);
}

// --- By attribute: "a.b.0" is item["a"]["b"][0].

class Getter {
 public:
  // Of a value that is none, the items themselves. `standard`: for what is missing; none to leave it undefined.
  Getter(Interpreter& interpreter, const Value& attribute, Value standard = {})
      : interpreter_(interpreter), standard_(std::move(standard)) {
    if (attribute.is_none()) return;
    if (!attribute.is_text()) {
      path_.push_back(attribute);
      return;
    }
    for (Text& part : split(interpreter.budget(), attribute.text(), ".", -1, false)) {
      const std::string& bytes = part.bytes();
      const bool number = !bytes.empty() && bytes.size() < 10 &&
                          std::all_of(bytes.begin(), bytes.end(), [](char c) { return c >= '0' && c <= '9'; });
      path_.push_back(number ? Value(int64_t(std::stoll(bytes))) : interpreter.text(std::move(part)));
    }
  }

  Value operator()(Value item) const {
    for (const Value& key : path_) {
      item = interpreter_.item(item, key);
      if (item.is_undefined() && !standard_.is_none()) item = standard_;
    }
    return item;
  }

 private:
  Interpreter& interpreter_;
  Value standard_;
  Values path_;
};

Value optional(const Bound& args, size_t i) {
  return args.has(i) ? args[i] : Value();
}

Value without_case(Interpreter& i, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.is_text()) return value;
  return i.text(lower(i.budget(), value.text()));
}

// --- One of many.

Value filter_first(Interpreter& i, const Value& v, const Bound&) {
  const Values items = iterate(i.budget(), v);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value filter_last(Interpreter& i, const Value& v, const Bound&) {
  if (type_name(v) == "generator") i.budget().fail("'generator' object is not reversible");
  const Values items = iterate(i.budget(), v);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

// The first for which none is better; better < 0: the least, > 0: the greatest.
Value extreme(Interpreter& i, const Value& v, const Bound& args, int better) {
  const Values items = iterate(i.budget(), v);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Getter get(i, optional(args, 1));
  const auto key = [&](const Value& item) { return without_case(i, get(item), args.boolean(0, false)); };
  size_t best = 0;
  Value best_key = key(items[0]);
  for (size_t n = 1; n < items.size(); ++n) {
    Value other = key(items[n]);
    if (compare(i.budget(), other, best_key) * better <= 0) continue;
    best = n;
    best_key = std::move(other);
  }
  return items[best];
}

Value filter_min(Interpreter& i, const Value& v, const Bound& args) {
  return extreme(i, v, args, -1);
}
Value filter_max(Interpreter& i, const Value& v, const Bound& args) {
  return extreme(i, v, args, 1);
}

Value filter_length(Interpreter& i, const Value& v, const Bound&) {
  return length(i.budget(), v);
}

Value filter_sum(Interpreter& i, const Value& v, const Bound& args) {
  const Getter get(i, optional(args, 0));
  Value sum = args.has(1) ? args[1] : Value(int64_t(0));
  if (sum.is_text()) i.budget().fail("expected a number or a list as start of 'sum', found 'str'");
  for (const Value& item : iterate(i.budget(), v)) sum = calculate(i, Operator::add, sum, get(item));
  return sum;
}

Value filter_join(Interpreter& i, const Value& v, const Bound& args) {
  Budget& budget = i.budget();
  const Getter get(i, optional(args, 1));
  const Text separator = args.has(0) ? to_text(budget, args[0]) : Text();
  Text out;
  bool first = true;
  for (const Value& item : iterate(budget, v)) {
    const Text text = to_text(budget, get(item));
    budget.step(separator.size() + text.size());
    budget.expect_room(out.footprint() + separator.footprint() + text.footprint());
    if (!std::exchange(first, false)) out.append(separator);
    out.append(text);
  }
  return i.text(std::move(out));
}

// --- Lists of lists.

Value filter_list(Interpreter& i, const Value& v, const Bound&) {
  return make_list(i.budget(), iterate(i.budget(), v));
}

Value filter_reverse(Interpreter& i, const Value& v, const Bound&) {
  Values items = iterate(i.budget(), v);
  std::reverse(items.begin(), items.end());
  if (type_name(v) == "generator") return make_list(i.budget(), std::move(items));
  if (!v.is_text()) return generator(i, std::move(items));
  Text out;
  for (const Value& c : items) out.append(c.text());
  return i.text(std::move(out), v.is_markup());
}

int64_t positive(Interpreter& i, const Bound& args, const char* filter) {
  const int64_t n = args.integer(0, 0);
  if (n <= 0) i.budget().fail("expected a number above 0 for '{}', found {}", filter, n);
  return n;
}

Value filter_batch(Interpreter& i, const Value& v, const Bound& args) {
  const size_t n = size_t(positive(i, args, "batch"));
  const Values items = iterate(i.budget(), v);
  Values batches;
  for (size_t begin = 0; begin < items.size(); begin += std::min(n, items.size())) {
    const size_t end = std::min(items.size(), begin + std::min(n, items.size()));
    Values batch(items.begin() + long(begin), items.begin() + long(end));
    if (args.has(1) && !args[1].is_none() && batch.size() < n) {
      i.budget().expect_room(n * sizeof(Value));
      i.budget().step(n * sizeof(Value));
      batch.resize(n, args[1]);
    }
    batches.push_back(make_list(i.budget(), std::move(batch)));
  }
  return generator(i, std::move(batches));
}

Value filter_slice(Interpreter& i, const Value& v, const Bound& args) {
  const size_t n = size_t(positive(i, args, "slice"));
  const Values items = iterate(i.budget(), v);
  i.budget().expect_room(n * sizeof(List));
  i.budget().step(n * sizeof(List));
  const size_t each = items.size() / n, longer = items.size() % n;  // the first `longer` have one more
  Values slices;
  size_t begin = 0;
  for (size_t s = 0; s < n; ++s) {
    const size_t end = begin + each + (s < longer);
    Values slice(items.begin() + long(begin), items.begin() + long(end));
    if (args.has(1) && !args[1].is_none() && s >= longer) slice.push_back(args[1]);
    slices.push_back(make_list(i.budget(), std::move(slice)));
    begin = end;
  }
  return generator(i, std::move(slices));
}

Value filter_items(Interpreter& i, const Value& v, const Bound&) {
  if (v.is_undefined()) return generator(i, {});
  if (v.dict() == nullptr) i.budget().fail("Can only get item pairs from a mapping.");
  return generator(i, iterate(i.budget(), i.call(i.attribute(v, "items"), {})));
}

// --- In order.

// The items in the order of their keys.
Values sorted(Interpreter& i, const Values& items, const Values& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int relation = compare(i.budget(), keys[a], keys[b]);
    return reverse ? relation > 0 : relation < 0;
  });
  Values out;
  for (const size_t at : order) out.push_back(items[at]);
  return out;
}

Value filter_sort(Interpreter& i, const Value& v, const Bound& args) {
  const Values items = iterate(i.budget(), v);
  std::vector<Getter> getters;
  if (args.has(2) && args[2].is_text()) {
    for (Text& part : split(i.budget(), args[2].text(), ",", -1, false))
      getters.emplace_back(i, i.text(std::move(part)));
  } else {
    getters.emplace_back(i, optional(args, 2));
  }
  Values keys;
  for (const Value& item : items) {
    Values key;
    for (const Getter& get : getters) key.push_back(without_case(i, get(item), args.boolean(1, false)));
    keys.push_back(make_list(i.budget(), std::move(key)));
  }
  return make_list(i.budget(), sorted(i, items, keys, args.boolean(0, false)));
}

Value filter_dictsort(Interpreter& i, const Value& v, const Bound& args) {
  if (v.dict() == nullptr) i.budget().fail("expected a dict for 'dictsort', found '{}'", type_name(v));
  const std::string by = args.text(1, "key").bytes();
  if (by != "key" && by != "value") i.budget().fail("expected 'key' or 'value' to sort by, found '{}'", by);
  const Values items = iterate(i.budget(), i.call(i.attribute(v, "items"), {}));
  Values keys;
  for (const Value& item : items)
    keys.push_back(without_case(i, item.list()->items[by == "value"], args.boolean(0, false)));
  return make_list(i.budget(), sorted(i, items, keys, args.boolean(2, false)));
}

Value filter_unique(Interpreter& i, const Value& v, const Bound& args) {
  const Getter get(i, optional(args, 1));
  Values kept, seen;
  for (const Value& item : iterate(i.budget(), v)) {
    Value key = without_case(i, get(item), args.boolean(0, false));
    if (!is_hashable(key)) i.budget().fail("unhashable type: '{}'", type_name(key));
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equal(i.budget(), s, key); })) continue;
    seen.push_back(std::move(key));
    kept.push_back(item);
  }
  return generator(i, std::move(kept));
}

Value filter_groupby(Interpreter& i, const Value& v, const Bound& args) {
  Budget& budget = i.budget();
  const Getter get(i, args[0], optional(args, 1));
  const bool case_sensitive = args.boolean(2, false);
  const Values items = iterate(budget, v);
  Values keys;
  for (const Value& item : items) keys.push_back(without_case(i, get(item), case_sensitive));
  Values groups;
  const Values in_order = sorted(i, items, keys, false);
  for (size_t begin = 0; begin < in_order.size();) {
    const Value key = without_case(i, get(in_order[begin]), case_sensitive);
    size_t end = begin + 1;
    while (end < in_order.size() && equal(budget, without_case(i, get(in_order[end]), case_sensitive), key)) ++end;
    Values group(in_order.begin() + long(begin), in_order.begin() + long(end));
    groups.push_back(make_list(budget, {get(in_order[begin]), make_list(budget, std::move(group))}, List::Kind::group));
    begin = end;
  }
  return make_list(budget, std::move(groups));
}

// --- With another filter or test.

// What is left of a call's arguments after the first `n`.
Arguments without_first(const Arguments& arguments, size_t n) {
  return {Values(arguments.positional.begin() + long(n), arguments.positional.end()), arguments.named};
}

const Builtin& named(Interpreter& i, const Value& name, const Builtin* (*find)(std::string_view), const char* kind) {
  if (!name.is_text()) i.budget().fail("expected the name of a {}, found '{}'", kind, type_name(name));
  const Builtin* builtin = find(name.text().bytes());
  if (builtin == nullptr) i.budget().fail("there is no {} named '{}'", kind, name.text().bytes());
  return *builtin;
}

Value filter_map(Interpreter& i, const Value& v, const Bound& args) {
  Values out;
  if (!truth(v)) return generator(i, {});  // as Jinja: none, too
  if (args.all.positional.empty()) {
    Value attribute, standard;
    for (const auto& [name, value] : args.all.named) {
      if (name != "attribute" && name != "default") i.budget().fail("'map' has no argument '{}'", name);
      (name == "attribute" ? attribute : standard) = value;
    }
    if (attribute.is_none()) i.budget().fail("expected the name of a filter or attribute=... for 'map'");
    const Getter get(i, attribute, standard);
    for (const Value& item : iterate(i.budget(), v)) out.push_back(get(item));
  } else {
    const Builtin& filter = named(i, args.all.positional[0], find_filter, "filter");
    const Arguments rest = without_first(args.all, 1);
    for (const Value& item : iterate(i.budget(), v)) out.push_back(call_builtin(i, filter, item, rest));
  }
  return generator(i, std::move(out));
}

// Those items for which a test holds, or does not: by default whether they are true.
Value choose(Interpreter& i, const Value& v, const Arguments& arguments, bool by_attribute, bool wanted) {
  if (!truth(v)) return generator(i, {});  // as Jinja: none, too
  if (by_attribute && arguments.positional.empty()) i.budget().fail("expected the name of an attribute to select by");
  const Getter get(i, by_attribute ? arguments.positional[0] : Value());
  const size_t used = by_attribute;
  const Builtin* test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > used) {
    test = &named(i, arguments.positional[used], find_test, "test");
    rest = without_first(arguments, used + 1);
  }
  Values kept;
  for (const Value& item : iterate(i.budget(), v)) {
    const Value asked = get(item);
    if (truth(test == nullptr ? asked : call_builtin(i, *test, asked, rest)) == wanted) kept.push_back(item);
  }
  return generator(i, std::move(kept));
}

Value filter_select(Interpreter& i, const Value& v, const Bound& args) {
  return choose(i, v, args.all, false, true);
}
Value filter_reject(Interpreter& i, const Value& v, const Bound& args) {
  return choose(i, v, args.all, false, false);
}
Value filter_selectattr(Interpreter& i, const Value& v, const Bound& args) {
  return choose(i, v, args.all, true, true);
}
Value filter_rejectattr(Interpreter& i, const Value& v, const Bound& args) {
  return choose(i, v, args.all, true, false);
}

Value filter_attr(Interpreter& i, const Value& v, const Bound& args) {
  if (v.dict() != nullptr && find_method(v, args.text(0).bytes()) == nullptr)  // attributes only, no keys
    return Value::undefined("'dict object' has no attribute '" + args.text(0).bytes() + "'");
  return i.attribute(v, args.text(0).bytes());
}

constexpr Builtin kListFilters[] = {
    {"attr", "name", filter_attr},
    {"batch", "linecount / fill_with", filter_batch},
    {"count", "", filter_length},
    {"dictsort", "/ case_sensitive by reverse", filter_dictsort},
    {"first", "", filter_first},
    {"groupby", "attribute / default case_sensitive", filter_groupby},
    {"items", "", filter_items},
    {"join", "/ d attribute", filter_join},
    {"last", "", filter_last},
    {"length", "", filter_length},
    {"list", "", filter_list},
    {"map", "...", filter_map},
    {"max", "/ case_sensitive attribute", filter_max},
    {"min", "/ case_sensitive attribute", filter_min},
    {"reject", "...", filter_reject},
    {"rejectattr", "...", filter_rejectattr},
    {"reverse", "", filter_reverse},
    {"select", "...", filter_select},
    {"selectattr", "...", filter_selectattr},
    {"slice", "slices / fill_with", filter_slice},
    {"sort", "/ reverse case_sensitive attribute", filter_sort},
    {"sum", "/ attribute start", filter_sum},
    {"unique", "/ case_sensitive attribute", filter_unique},
};

}  // namespace

std::span<const Builtin> list_filters() {
  return kListFilters;
}

const Builtin* find_filter(std::string_view name) {
  const Builtin* filter = find_in(text_filters(), name);
  return filter == nullptr ? find_in(list_filters(), name) : filter;
}

}  // namespace hearth::jinja
