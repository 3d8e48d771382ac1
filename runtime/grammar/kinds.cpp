#include "runtime/grammar/kinds.h"

#include <algorithm>

#include "runtime/grammar/refusal.h"

namespace hearth::grammar {
namespace {

constexpr size_t kMostShapes = 256;

template <class Shape>
void tidy(std::vector<Shape>& shapes) {
  std::sort(shapes.begin(), shapes.end());
  shapes.erase(std::unique(shapes.begin(), shapes.end()), shapes.end());
  if (std::find(shapes.begin(), shapes.end(), Shape{}) != shapes.end()) shapes = {Shape{}};  // it has all others
  if (shapes.size() > kMostShapes)
    throw Refusal("", fmt::format("its alternatives combine in more than {} ways", kMostShapes));
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

ObjectShape both(Pools&, const ObjectShape& a, const ObjectShape& b) {
  ObjectShape made = a;
  for (auto [to, from] : {std::pair(&made.all, &b.all), std::pair(&made.some, &b.some)}) {
    append(*to, *from);
    std::sort(to->begin(), to->end());
    to->erase(std::unique(to->begin(), to->end()), to->end());
  }
  made.least = std::max(a.least, b.least);
  made.most = std::min(a.most, b.most);
  return made;
}

ArrayShape both(Pools& pools, const ArrayShape& a, const ArrayShape& b) {
  ArrayShape made;
  const auto item = [](const ArrayShape& shape, size_t i) {
    return i < shape.prefix.size() ? shape.prefix[i] : shape.rest;
  };
  for (size_t i = 0; i < std::max(a.prefix.size(), b.prefix.size()); ++i)
    made.prefix.push_back(pools.expressions.both(item(a, i), item(b, i)));
  made.rest = pools.expressions.both(a.rest, b.rest);
  made.counts = a.counts;
  append(made.counts, b.counts);
  std::sort(made.counts.begin(), made.counts.end());
  made.counts.erase(std::unique(made.counts.begin(), made.counts.end()), made.counts.end());
  made.least = std::max(a.least, b.least);
  made.most = std::min(a.most, b.most);
  return made;
}

bool impossible(const ObjectShape& shape) {
  return shape.least > shape.most;
}
bool impossible(const ArrayShape& shape) {
  if (shape.least > shape.most) return true;
  for (size_t i = 0; i < shape.prefix.size() && i < shape.least; ++i)
    if (shape.prefix[i] == kNever) return true;
  return std::any_of(shape.counts.begin(), shape.counts.end(),
                     [](const ArrayShape::Count& count) { return count.least > count.most; });
}

template <class Shape>
std::vector<Shape> both(Pools& pools, const std::vector<Shape>& a, const std::vector<Shape>& b) {
  std::vector<Shape> made;
  for (const Shape& x : a)
    for (const Shape& y : b) {
      Shape common = both(pools, x, y);
      if (!impossible(common)) made.push_back(std::move(common));
      if (made.size() > 16 * kMostShapes) tidy(made);
    }
  tidy(made);
  return made;
}

std::vector<ObjectShape> complement(Pools& pools, const ObjectShape& shape) {
  std::vector<ObjectShape> made;
  for (const auto& member : shape.all) {
    const Expression other = pools.expressions.complement(member.value);
    made.push_back({.some = {{member.names, other}}});
  }
  for (const auto& member : shape.some) {
    const Expression other = pools.expressions.complement(member.value);
    made.push_back({.all = {{member.names, other}}});
  }
  if (shape.least > 0) made.push_back({.most = shape.least - 1});
  if (shape.most != kUnbounded) made.push_back({.least = shape.most + 1});
  return made;
}

std::vector<ArrayShape> complement(Pools& pools, const ArrayShape& shape) {
  std::vector<ArrayShape> made;
  for (size_t i = 0; i < shape.prefix.size(); ++i) {
    if (shape.prefix[i] == kAlways) continue;
    ArrayShape wrong{.prefix = std::vector<Expression>(i, kAlways), .least = static_cast<uint32_t>(i + 1)};
    wrong.prefix.push_back(pools.expressions.complement(shape.prefix[i]));
    made.push_back(std::move(wrong));
  }
  if (shape.rest != kAlways) {
    const auto from = static_cast<uint32_t>(shape.prefix.size());
    const Expression other = pools.expressions.complement(shape.rest);
    made.push_back({.counts = {{other, 1, kUnbounded, from}}});
  }
  for (const auto& count : shape.counts) {
    if (count.least > 0) made.push_back({.counts = {{count.value, 0, count.least - 1, count.from}}});
    if (count.most != kUnbounded) made.push_back({.counts = {{count.value, count.most + 1, kUnbounded, count.from}}});
  }
  if (shape.least > 0) made.push_back({.most = shape.least - 1});
  if (shape.most != kUnbounded) made.push_back({.least = shape.most + 1});
  return made;
}

template <class Shape>
std::vector<Shape> complement_all(Pools& pools, const std::vector<Shape>& shapes) {
  std::vector<Shape> rest = {Shape{}};
  for (const Shape& shape : shapes) rest = both(pools, rest, complement(pools, shape));
  return rest;
}

}  // namespace

Kinds Kinds::all() {
  Kinds kinds;
  kinds.null = kinds.booleans[0] = kinds.booleans[1] = true;
  kinds.numbers = kAnyNumber;
  kinds.strings = kAnyText;
  kinds.arrays = {ArrayShape{}};
  kinds.objects = {ObjectShape{}};
  return kinds;
}

Kinds both(Pools& pools, const Kinds& a, const Kinds& b) {
  Kinds made;
  made.null = a.null && b.null;
  for (int i : {0, 1}) made.booleans[i] = a.booleans[i] && b.booleans[i];
  made.numbers = pools.numbers.both(a.numbers, b.numbers);
  made.strings = pools.regexes.both({a.strings, b.strings});
  made.arrays = both(pools, a.arrays, b.arrays);
  made.objects = both(pools, a.objects, b.objects);
  return made;
}

Kinds either(Pools& pools, const Kinds& a, const Kinds& b) {
  Kinds made = a;
  made.null |= b.null;
  for (int i : {0, 1}) made.booleans[i] |= b.booleans[i];
  made.numbers = pools.numbers.either(a.numbers, b.numbers);
  made.strings = pools.regexes.either({a.strings, b.strings});
  append(made.arrays, b.arrays);
  append(made.objects, b.objects);
  tidy(made.arrays);
  tidy(made.objects);
  return made;
}

Kinds complement(Pools& pools, const Kinds& of) {
  Kinds made;
  made.null = !of.null;
  for (int i : {0, 1}) made.booleans[i] = !of.booleans[i];
  made.numbers = pools.numbers.complement(of.numbers);
  made.strings = pools.regexes.complement(of.strings);
  made.arrays = complement_all(pools, of.arrays);
  made.objects = complement_all(pools, of.objects);
  return made;
}

}  // namespace hearth::grammar
