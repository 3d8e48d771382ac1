// Boolean expressions over the schemas of a document: what a value must satisfy. Hash-consed: the same expression has
// the same number, so that recursion ends.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "runtime/grammar/json_value.h"

namespace hearth::grammar {

using Expression = uint32_t;

constexpr Expression kNever = 0, kAlways = 1;

class Expressions {
 public:
  enum class Kind : uint8_t { never, always, schema, constant, complement, both, either };
  struct Node {
    Kind kind;
    const JsonValue* value = nullptr;    // schema, constant: where it stands in the document
    std::vector<Expression> parts = {};  // complement: one; both, either: in order
    auto operator<=>(const Node&) const = default;
  };

  Expressions();

  Expression schema(const JsonValue* value);    // what this schema allows
  Expression constant(const JsonValue* value);  // this value
  Expression complement(Expression of);
  Expression both(std::vector<Expression> parts);
  Expression both(Expression a, Expression b) { return both(std::vector{a, b}); }
  Expression either(std::vector<Expression> parts);

  const Node& node(Expression expression) const { return nodes_[expression]; }

 private:
  Expression intern(Node node);
  Expression joined(Kind kind, std::vector<Expression> parts, Expression nothing, Expression everything);

  std::vector<Node> nodes_;
  std::map<Node, Expression> numbers_;
};

}  // namespace hearth::grammar
