#include "runtime/jinja/expression_parser.h"

#include <iterator>

#include "runtime/jinja/builtins.h"

namespace hearth::jinja {

ExpressionPtr ExpressionParser::expression(bool with_conditional) {
  return with_conditional ? conditional() : logic(true);
}

bool ExpressionParser::ends_tuple() const {
  const Token& token = tokens_.peek();
  return token.kind == Token::Kind::block_end || token.kind == Token::Kind::print_end || token.is_symbol(")") ||
         token.is_name("in") || token.is_name("recursive");
}

ExpressionPtr ExpressionParser::expression_or_tuple(bool with_conditional) {
  const int line = tokens_.line();
  ExpressionPtr first = expression(with_conditional);
  if (!tokens_.peek().is_symbol(",")) return first;
  ListDisplay tuple{{}, true};
  tuple.items.push_back(std::move(first));
  while (tokens_.skip_symbol(",") && !ends_tuple()) tuple.items.push_back(expression(with_conditional));
  return make(line, std::move(tuple));
}

ExpressionPtr ExpressionParser::conditional() {
  const Tokens::Level level(tokens_);
  const int line = tokens_.line();
  const std::optional<Unknown> unknown_before = unknown_;
  ExpressionPtr value = logic(true);
  if (!tokens_.peek().is_name("if")) return value;
  unknown_ = unknown_before;
  const Conditionally may_be_left_out(*this, true);
  Tokens::Level nested(tokens_, false);
  while (tokens_.skip_name("if")) {
    nested.deeper();
    ExpressionPtr test = logic(true);
    ExpressionPtr otherwise = tokens_.skip_name("else") ? conditional() : nullptr;
    value = make(line, Conditional{std::move(test), std::move(value), std::move(otherwise)});
  }
  return value;
}

ExpressionPtr ExpressionParser::logic(bool any) {
  const int line = tokens_.line();
  const auto operand = [&] { return any ? logic(false) : negation(); };
  Logic logic{{}, any};
  logic.operands.push_back(operand());
  while (tokens_.skip_name(any ? "or" : "and")) logic.operands.push_back(operand());
  return logic.operands.size() == 1 ? std::move(logic.operands[0]) : make(line, std::move(logic));
}

ExpressionPtr ExpressionParser::negation() {
  const int line = tokens_.line();
  if (!tokens_.skip_name("not")) return comparison();
  const Tokens::Level level(tokens_);
  return make(line, Not{negation()});
}

ExpressionPtr ExpressionParser::comparison() {
  static const std::vector<std::pair<std::string_view, Relation>> kRelations = {
      {"==", Relation::equal},      {"!=", Relation::not_equal}, {"<", Relation::less},
      {"<=", Relation::less_equal}, {">", Relation::greater},    {">=", Relation::greater_equal}};
  const int line = tokens_.line();
  Comparison comparison{sum(), {}};
  for (;;) {
    const auto found = std::find_if(kRelations.begin(), kRelations.end(),
                                    [&](const auto& r) { return tokens_.peek().is_symbol(r.first); });
    Relation relation = Relation::in;
    if (found != kRelations.end()) {
      tokens_.next();
      relation = found->second;
    } else if (tokens_.peek().is_name("not") && tokens_.peek(1).is_name("in")) {
      tokens_.next(), tokens_.next();
      relation = Relation::not_in;
    } else if (!tokens_.skip_name("in")) {
      break;
    }
    comparison.rest.emplace_back(relation, sum());
  }
  return comparison.rest.empty() ? std::move(comparison.first) : make(line, std::move(comparison));
}

ExpressionPtr ExpressionParser::sum() {
  const int line = tokens_.line();
  Arithmetic sum{concatenation(), {}};
  while (tokens_.peek().is_symbol("+") || tokens_.peek().is_symbol("-")) {
    const Operator op = tokens_.next().text == "+" ? Operator::add : Operator::subtract;
    sum.rest.emplace_back(op, concatenation());
  }
  return sum.rest.empty() ? std::move(sum.first) : make(line, std::move(sum));
}

ExpressionPtr ExpressionParser::concatenation() {
  const int line = tokens_.line();
  Concatenation all;
  all.operands.push_back(product());
  while (tokens_.skip_symbol("~")) all.operands.push_back(product());
  return all.operands.size() == 1 ? std::move(all.operands[0]) : make(line, std::move(all));
}

ExpressionPtr ExpressionParser::product() {
  static const std::vector<std::pair<std::string_view, Operator>> kOperators = {
      {"*", Operator::multiply}, {"/", Operator::divide}, {"//", Operator::floor_divide}, {"%", Operator::modulo}};
  const int line = tokens_.line();
  Arithmetic product{power(), {}};
  for (;;) {
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [&](const auto& o) { return tokens_.peek().is_symbol(o.first); });
    if (found == kOperators.end()) break;
    tokens_.next();
    product.rest.emplace_back(found->second, power());
  }
  return product.rest.empty() ? std::move(product.first) : make(line, std::move(product));
}

ExpressionPtr ExpressionParser::power() {
  const int line = tokens_.line();
  Arithmetic power{unary(), {}};
  while (tokens_.skip_symbol("**")) power.rest.emplace_back(Operator::power, unary());
  return power.rest.empty() ? std::move(power.first) : make(line, std::move(power));
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const int line = tokens_.line();
  ExpressionPtr value;
  if (tokens_.peek().is_symbol("-") || tokens_.peek().is_symbol("+")) {
    const Tokens::Level level(tokens_);
    const bool negative = tokens_.next().text == "-";
    value = make(line, Sign{unary(false), negative});
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::primary() {
  const Token& token = tokens_.peek();
  const int line = token.line;
  switch (token.kind) {
    case Token::Kind::name:
      return name_or_constant();
    case Token::Kind::integer:
      return make(line, Constant{tokens_.next().integer});
    case Token::Kind::real:
      return make(line, Constant{tokens_.next().real});
    case Token::Kind::text: {
      std::string text;
      while (tokens_.peek().kind == Token::Kind::text) text += tokens_.next().text;
      return make(line, Constant{Value::constant(std::move(text))});
    }
    default:
      break;
  }
  if (token.is_symbol("(")) return parenthesis();
  if (token.is_symbol("[")) return list_display();
  if (token.is_symbol("{")) return dict_display();
  tokens_.fail_found("an expression");
}

ExpressionPtr ExpressionParser::name_or_constant() {
  const int line = tokens_.line();
  const std::string name = tokens_.next().text;
  if (name == "true" || name == "True") return make(line, Constant{true});
  if (name == "false" || name == "False") return make(line, Constant{false});
  if (name == "none" || name == "None") return make(line, Constant{Value()});
  names_.read(name);
  return make(line, Name{name});
}

ExpressionPtr ExpressionParser::parenthesis() {
  const Tokens::Level level(tokens_);
  const int line = tokens_.line();
  tokens_.expect_symbol("(");
  if (tokens_.skip_symbol(")")) return make(line, ListDisplay{{}, true});
  ExpressionPtr inside = expression_or_tuple();
  tokens_.expect_symbol(")");
  return inside;
}

ExpressionPtr ExpressionParser::list_display() {
  const Tokens::Level level(tokens_);
  const int line = tokens_.line();
  ListDisplay list{{}, false};
  tokens_.expect_symbol("[");
  while (!tokens_.skip_symbol("]")) {
    if (!list.items.empty()) {
      tokens_.expect_symbol(",");
      if (tokens_.skip_symbol("]")) break;
    }
    list.items.push_back(expression());
  }
  return make(line, std::move(list));
}

ExpressionPtr ExpressionParser::dict_display() {
  const Tokens::Level level(tokens_);
  const int line = tokens_.line();
  DictDisplay dict;
  tokens_.expect_symbol("{");
  while (!tokens_.skip_symbol("}")) {
    if (!dict.entries.empty()) {
      tokens_.expect_symbol(",");
      if (tokens_.skip_symbol("}")) break;
    }
    ExpressionPtr key = expression();
    tokens_.expect_symbol(":");
    dict.entries.emplace_back(std::move(key), expression());
  }
  return make(line, std::move(dict));
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr object) {
  Tokens::Level nested(tokens_, false);
  for (;; nested.deeper()) {
    const int line = tokens_.line();
    if (tokens_.skip_symbol(".")) {
      object = attribute(std::move(object), line);
    } else if (tokens_.skip_symbol("[")) {
      object = subscript(std::move(object), line);
    } else if (tokens_.peek().is_symbol("(")) {
      object = make(line, Call{std::move(object), arguments()});
    } else {
      return object;
    }
  }
}

ExpressionPtr ExpressionParser::attribute(ExpressionPtr object, int line) {
  if (tokens_.peek().kind != Token::Kind::integer)
    return make(line, Attribute{std::move(object), tokens_.expect_name("the name of an attribute")});
  return make(line, Item{std::move(object), make(line, Constant{tokens_.next().integer})});
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object, int line) {
  ExpressionPtr parts[3];
  int colons = 0;
  while (!tokens_.peek().is_symbol("]") && !tokens_.peek().is_symbol(",")) {
    if (tokens_.skip_symbol(":")) {
      if (++colons > 2) tokens_.refuse("expected at most two ':' in a slice, found three");
    } else if (parts[colons] == nullptr) {
      parts[colons] = expression();
    } else {
      tokens_.fail_found("':' or ']'");
    }
  }
  if (colons > 0) {
    tokens_.expect_symbol("]");
    return make(line, Slice{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
  }
  if (parts[0] == nullptr) tokens_.fail_found("an expression");
  if (!tokens_.peek().is_symbol(",")) {
    tokens_.expect_symbol("]");
    return make(line, Item{std::move(object), std::move(parts[0])});
  }
  ListDisplay tuple{{}, true};
  tuple.items.push_back(std::move(parts[0]));
  while (tokens_.skip_symbol(",")) tuple.items.push_back(expression());
  tokens_.expect_symbol("]");
  return make(line, Item{std::move(object), make(line, std::move(tuple))});
}

ArgumentList ExpressionParser::arguments() {
  const Tokens::Level level(tokens_);
  ArgumentList list;
  tokens_.expect_symbol("(");
  for (bool first = true; !tokens_.skip_symbol(")"); first = false) {
    if (!first) {
      tokens_.expect_symbol(",");
      if (tokens_.skip_symbol(")")) break;
    }
    if (list.more_named != nullptr) tokens_.fail_found("')' after **");
    if (tokens_.skip_symbol("**")) {
      list.more_named = expression();
    } else if (tokens_.skip_symbol("*")) {
      if (list.more_positional != nullptr) tokens_.refuse("expected at most one '*' in a call");
      list.more_positional = expression();
    } else if (tokens_.peek().kind == Token::Kind::name && tokens_.peek(1).is_symbol("=")) {
      std::string name = tokens_.next().text;
      tokens_.next();
      list.named.emplace_back(std::move(name), expression());
    } else {
      if (!list.named.empty() || list.more_positional != nullptr) tokens_.fail_found("an argument with a name");
      list.positional.push_back(expression());
    }
  }
  return list;
}

// --- Filters and tests.

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr value) {
  Tokens::Level nested(tokens_, false);
  for (;; nested.deeper()) {
    const int line = tokens_.line();
    if (tokens_.skip_symbol("|")) {
      value = filter(std::move(value));
    } else if (tokens_.skip_name("is")) {
      value = test(std::move(value));
    } else if (tokens_.peek().is_symbol("(")) {
      value = make(line, Call{std::move(value), arguments()});
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr input) {
  const int line = tokens_.line();
  std::string name = tokens_.expect_name("the name of a filter");
  const Builtin* filter = find_filter(name);
  if (filter == nullptr) note_unknown("filter", name, line);
  ArgumentList list;
  if (tokens_.peek().is_symbol("(")) list = arguments();
  return make(line, Filter{std::move(input), std::move(name), filter, std::move(list)});
}

ExpressionPtr ExpressionParser::filters_of_block() {
  Tokens::Level nested(tokens_, false);
  ExpressionPtr value = filter(nullptr);
  for (; tokens_.skip_symbol("|"); nested.deeper()) value = filter(std::move(value));
  return value;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr input) {
  const int line = tokens_.line();
  const bool negated = tokens_.skip_name("not");
  std::string name = tokens_.expect_name("the name of a test");
  const Builtin* test = find_test(name);
  if (test == nullptr) note_unknown("test", name, line);
  ArgumentList list;
  const Token& token = tokens_.peek();
  if (token.is_symbol("(")) {
    list = arguments();
  } else if (token.is_name("is")) {
    tokens_.refuse("expected 'and' or 'or' between two tests, found 'is'");
  } else if (token.is_symbol("[") || token.is_symbol("{") || token.kind == Token::Kind::text ||
             token.kind == Token::Kind::integer || token.kind == Token::Kind::real ||
             (token.kind == Token::Kind::name && !token.is_name("else") && !token.is_name("or") &&
              !token.is_name("and"))) {
    list.positional.push_back(postfix(primary()));
  }
  return make(line, Test{std::move(input), std::move(name), test, std::move(list), negated});
}

void ExpressionParser::note_unknown(const char* kind, const std::string& name, int line) {
  if (!conditional_ && !unknown_) unknown_ = {line, fmt::format("there is no {} named '{}'", kind, name)};
}

void ExpressionParser::refuse_unknown() {
  if (unknown_) tokens_.refuse_at(unknown_->line, unknown_->message);
}

// --- Targets.

Target ExpressionParser::one_target(bool may_be_attribute) {
  if (tokens_.peek().is_symbol("(")) {
    const Tokens::Level level(tokens_);
    tokens_.next();
    Target inside = target(may_be_attribute);
    tokens_.expect_symbol(")");
    return inside;
  }
  Target target{tokens_.expect_name("a name to assign to"), "", {}};
  static const std::set<std::string> kConstants = {"true", "True", "false", "False", "none", "None"};
  if (kConstants.count(target.name)) tokens_.refuse("expected a name to assign to, found '" + target.name + "'");
  if (may_be_attribute && tokens_.skip_symbol(".")) {
    target.attribute = tokens_.expect_name("the name of an attribute");
    names_.read(target.name);
  }
  return target;
}

Target ExpressionParser::target(bool may_be_attribute) {
  Target first = one_target(may_be_attribute);
  if (!tokens_.peek().is_symbol(",")) return first;
  Target all;
  all.several.push_back(std::move(first));
  while (tokens_.skip_symbol(",") && !ends_tuple() && !tokens_.peek().is_symbol("="))
    all.several.push_back(one_target(may_be_attribute));
  return all;
}

}  // namespace hearth::jinja
