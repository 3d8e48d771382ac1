// Expressions, as Jinja's grammar has them.
#pragma once

#include "runtime/jinja/parser_base.h"

namespace hearth::jinja {

class ExpressionParser {
 public:
  ExpressionParser(Tokens& tokens, Names& names) : tokens_(tokens), names_(names) {}

  // One expression; where Jinja's grammar has no place for `a if b`, with conditional = false.
  ExpressionPtr expression(bool conditional = true);
  // One, or a tuple without parentheses.
  ExpressionPtr expression_or_tuple(bool conditional = true);
  // The filters of a block: name|name(arguments)...
  ExpressionPtr filters_of_block();
  // What `for`, `set` and `with` assign to.
  Target target(bool may_be_attribute);
  ArgumentList arguments();

  // Fails if an expression since the last call named a filter or test that there is not. Where it may never be reached,
  // inside an `if`, Jinja leaves that to when it is; so do we.
  void refuse_unknown();
  class Conditionally;  // inside an `if`, or inside what is not, while it lives

 private:
  ExpressionPtr conditional();
  ExpressionPtr logic(bool any);
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters = true);
  ExpressionPtr primary();
  ExpressionPtr name_or_constant();
  ExpressionPtr parenthesis();
  ExpressionPtr list_display();
  ExpressionPtr dict_display();
  ExpressionPtr postfix(ExpressionPtr object);
  ExpressionPtr attribute(ExpressionPtr object, int line);
  ExpressionPtr subscript(ExpressionPtr object, int line);
  ExpressionPtr filters_and_tests(ExpressionPtr input);
  ExpressionPtr filter(ExpressionPtr input);
  ExpressionPtr test(ExpressionPtr input);
  Target one_target(bool may_be_attribute);
  bool ends_tuple() const;

  template <class T>
  static ExpressionPtr make(int line, T what) {
    return std::make_unique<Expression>(Expression{line, std::move(what)});
  }

  void note_unknown(const char* kind, const std::string& name, int line);

  struct Unknown {
    int line;
    std::string message;
  };

  Tokens& tokens_;
  Names& names_;
  bool conditional_ = false;
  std::optional<Unknown> unknown_;
};

class ExpressionParser::Conditionally {
 public:
  Conditionally(ExpressionParser& parser, bool conditional)
      : parser_(parser), outer_(std::exchange(parser.conditional_, conditional)) {}
  ~Conditionally() { parser_.conditional_ = outer_; }
  Conditionally(const Conditionally&) = delete;

 private:
  ExpressionParser& parser_;
  bool outer_;
};

}  // namespace hearth::jinja
