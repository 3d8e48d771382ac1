#include "runtime/grammar/expression.h"

#include <algorithm>

#include "runtime/grammar/refusal.h"

namespace hearth::grammar {
namespace {

constexpr size_t kMostExpressions = 50'000;

}  // namespace

Expressions::Expressions() {
  intern({Kind::never});
  intern({Kind::always});
}

Expression Expressions::intern(Node node) {
  const auto [it, added] = numbers_.try_emplace(std::move(node), static_cast<Expression>(nodes_.size()));
  if (added) {
    if (nodes_.size() >= kMostExpressions)
      throw Refusal("", fmt::format("its parts combine in more than {} ways", kMostExpressions));
    nodes_.push_back(it->first);
  }
  return it->second;
}

Expression Expressions::schema(const JsonValue* value) {
  if (value->is(JsonValue::Kind::boolean)) return value->boolean ? kAlways : kNever;
  if (value->is(JsonValue::Kind::object) && value->members.empty()) return kAlways;
  return intern({Kind::schema, value});
}

Expression Expressions::constant(const JsonValue* value) {
  return intern({Kind::constant, value});
}

Expression Expressions::complement(Expression of) {
  if (of == kNever || of == kAlways) return of == kNever ? kAlways : kNever;
  if (nodes_[of].kind == Kind::complement) return nodes_[of].parts[0];
  return intern({Kind::complement, nullptr, {of}});
}

// `nothing` changes nothing, `everything` decides all.
Expression Expressions::joined(Kind kind, std::vector<Expression> parts, Expression nothing, Expression everything) {
  std::vector<Expression> flat;
  for (const Expression part : parts) {
    if (part == everything) return everything;
    if (part == nothing) continue;
    if (nodes_[part].kind == kind)
      flat.insert(flat.end(), nodes_[part].parts.begin(), nodes_[part].parts.end());
    else
      flat.push_back(part);
  }
  std::sort(flat.begin(), flat.end());
  flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
  for (const Expression part : flat)
    if (nodes_[part].kind == Kind::complement && std::binary_search(flat.begin(), flat.end(), nodes_[part].parts[0]))
      return everything;
  if (flat.empty()) return nothing;
  if (flat.size() == 1) return flat[0];
  return intern({kind, nullptr, std::move(flat)});
}

Expression Expressions::both(std::vector<Expression> parts) {
  return joined(Kind::both, std::move(parts), kAlways, kNever);
}

Expression Expressions::either(std::vector<Expression> parts) {
  return joined(Kind::either, std::move(parts), kNever, kAlways);
}

}  // namespace hearth::grammar
