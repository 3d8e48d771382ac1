#include "runtime/jinja/parser.h"

#include <map>

#include "runtime/jinja/expression_parser.h"

namespace hearth::jinja {

namespace {

class Parser {
 public:
  Parser(std::string_view source, const std::string& name) : tokens_(source, name), expressions_(tokens_, names_) {}

  ParsedTemplate run() {
    ParsedTemplate parsed;
    parsed.body = block({});
    if (tokens_.peek().kind != Token::Kind::end) refuse_stray_end();
    parsed.reads = names_.reads();
    return parsed;
  }

 private:
  using Ends = std::initializer_list<const char*>;

  // --- Blocks.

  // Up to the tag of one of these names, whose name comes next, or to the end of the template.
  Block block(Ends ends) {
    const Tokens::Level level(tokens_);
    Block block;
    for (;;) {
      const Token& token = tokens_.peek();
      const int line = token.line;
      if (token.kind == Token::Kind::end) return block;
      tokens_.next();
      if (token.kind == Token::Kind::data) {
        block.push_back({line, Data{Value::constant(token.text)}});
      } else if (token.kind == Token::Kind::print_begin) {
        block.push_back({line, Print{expressions_.expression_or_tuple()}});
        tokens_.expect(Token::Kind::print_end);
      } else {
        if (tokens_.peek().kind != Token::Kind::name) tokens_.fail_found("the name of a tag");
        for (const char* end : ends)
          if (tokens_.peek().is_name(end)) return block;
        statement(block, line);
      }
      expressions_.refuse_unknown();
    }
  }

  // The block of the tag `opener` at `line`, and its closing tag.
  Block block_until(const char* end, const char* opener, int line) {
    Block body = block({end});
    close(end, opener, line);
    return body;
  }

  void close(const char* end, const char* opener, int line) {
    if (!tokens_.skip_name(end)) tokens_.fail_found(fmt::format("'{}' for the '{}' of line {}", end, opener, line));
    tokens_.expect(Token::Kind::block_end);
  }

  void end_of_tag() { tokens_.expect(Token::Kind::block_end); }

  [[noreturn]] void refuse_stray_end() { tokens_.fail_found("the end of the template"); }

  // --- Statements: the name of the tag is next.

  void statement(Block& block, int line) {
    using Parse = Statement (Parser::*)(int line);
    static const std::map<std::string, Parse, std::less<>> kTags = {
        {"for", &Parser::parse_for},     {"if", &Parser::parse_if},
        {"set", &Parser::parse_set},     {"macro", &Parser::parse_macro},
        {"call", &Parser::parse_call},   {"filter", &Parser::parse_filter},
        {"with", &Parser::parse_with},   {"generation", &Parser::parse_generation},
        {"break", &Parser::parse_break}, {"continue", &Parser::parse_continue},
    };
    const std::string& name = tokens_.peek().text;
    const auto tag = kTags.find(name);
    if (tag == kTags.end()) {
      const bool closes = name.starts_with("end") || name == "else" || name == "elif";
      tokens_.refuse(closes ? "found '" + name + "' that nothing opened" : "there is no tag named '" + name + "'");
    }
    tokens_.next();
    block.push_back((this->*tag->second)(line));
  }

  Statement parse_for(int line) {
    For loop;
    loop.target = expressions_.target(false);
    if (!tokens_.skip_name("in")) tokens_.fail_found("'in'");
    loop.iterable = expressions_.expression_or_tuple(false);
    const ExpressionParser::Conditionally no(expressions_, false);
    {
      const Names::Scope scope(names_);
      bind(loop.target);
      if (tokens_.skip_name("if")) loop.condition = expressions_.expression();
      loop.recursive = tokens_.skip_name("recursive");
      names_.set("loop");
      end_of_tag();
      ++loops_;
      loop.body = block({"else", "endfor"});
      --loops_;
    }
    if (tokens_.skip_name("else")) {
      end_of_tag();
      const Names::Scope scope(names_);
      loop.otherwise = block({"endfor"});
    }
    close("endfor", "for", line);
    return {line, std::move(loop)};
  }

  Statement parse_if(int line) {
    If choice;
    const ExpressionParser::Conditionally yes(expressions_, true);
    for (;;) {
      ExpressionPtr test = expressions_.expression_or_tuple(false);
      end_of_tag();
      const Names::Scope scope(names_);
      choice.branches.emplace_back(std::move(test), block({"elif", "else", "endif"}));
      if (!tokens_.skip_name("elif")) break;
    }
    if (tokens_.skip_name("else")) {
      end_of_tag();
      const Names::Scope scope(names_);
      choice.otherwise = block({"endif"});
    }
    close("endif", "if", line);
    return {line, std::move(choice)};
  }

  Statement parse_set(int line) {
    Target target = expressions_.target(true);
    if (tokens_.skip_symbol("=")) {
      Set set{std::move(target), expressions_.expression_or_tuple()};
      end_of_tag();
      bind(set.target);
      return {line, std::move(set)};
    }
    SetBlock set{std::move(target), nullptr, {}};
    if (!set.target.several.empty()) tokens_.fail_found("'='");
    if (tokens_.skip_symbol("|")) set.filter = expressions_.filters_of_block();
    end_of_tag();
    set.body = inner_block("endset", "set", line);
    bind(set.target);
    return {line, std::move(set)};
  }

  Statement parse_macro(int line) {
    MacroDefinition macro;
    macro.name = tokens_.expect_name("the name of a macro");
    names_.set(macro.name);
    signature_and_body(macro, "endmacro", "macro", line);
    return {line, std::move(macro)};
  }

  Statement parse_call(int line) {
    CallBlock call;
    call.caller.name = "caller";
    const Names::Scope scope(names_);
    if (tokens_.peek().is_symbol("(")) parameters(call.caller);
    call.call = expressions_.expression();
    if (!std::holds_alternative<Call>(call.call->what)) tokens_.refuse("expected a call of a macro after 'call'");
    body_of_macro(call.caller, "endcall", "call", line);
    return {line, std::move(call)};
  }

  Statement parse_filter(int line) {
    FilterBlock filter{expressions_.filters_of_block(), {}};
    end_of_tag();
    filter.body = inner_block("endfilter", "filter", line);
    return {line, std::move(filter)};
  }

  Statement parse_with(int line) {
    With with;
    while (tokens_.peek().kind != Token::Kind::block_end) {
      if (!with.variables.empty()) tokens_.expect_symbol(",");
      Target target = expressions_.target(false);
      tokens_.expect_symbol("=");
      with.variables.emplace_back(std::move(target), expressions_.expression());
    }
    end_of_tag();
    const Names::Scope scope(names_);
    for (const auto& [target, value] : with.variables) bind(target);
    const ExpressionParser::Conditionally no(expressions_, false);
    with.body = block_until("endwith", "with", line);
    return {line, std::move(with)};
  }

  // What transformers marks as the assistant's words; rendered as it stands, names set in it stay in it.
  Statement parse_generation(int line) {
    end_of_tag();
    return {line, With{{}, inner_block("endgeneration", "generation", line)}};
  }

  Statement parse_break(int line) {
    expect_loop("break");
    return {line, Break{}};
  }

  Statement parse_continue(int line) {
    expect_loop("continue");
    return {line, Continue{}};
  }

  // --- Parts of statements.

  void expect_loop(const char* tag) {
    if (loops_ == 0) tokens_.refuse(fmt::format("expected '{}' inside a 'for', found it outside", tag));
    end_of_tag();
  }

  void bind(const Target& target) {
    for (const Target& t : target.several) bind(t);
    if (target.several.empty() && target.attribute.empty()) names_.set(target.name);
  }

  // A body whose loops are its own: no `break` leaves it.
  Block inner_block(const char* end, const char* opener, int line) {
    const ExpressionParser::Conditionally no(expressions_, false);
    const Names::Scope scope(names_);
    const int outer_loops = std::exchange(loops_, 0);
    Block body = block_until(end, opener, line);
    loops_ = outer_loops;
    return body;
  }

  void parameters(MacroDefinition& macro) {
    tokens_.expect_symbol("(");
    while (!tokens_.skip_symbol(")")) {
      if (!macro.parameters.empty()) tokens_.expect_symbol(",");
      Parameter parameter{tokens_.expect_name("the name of a parameter"), nullptr};
      if (tokens_.skip_symbol("=")) {
        parameter.standard = expressions_.expression();
      } else if (!macro.parameters.empty() && macro.parameters.back().standard != nullptr) {
        tokens_.fail_found("'=' for the default of '" + parameter.name + "'");
      }
      names_.set(parameter.name);
      macro.parameters.push_back(std::move(parameter));
    }
  }

  void signature_and_body(MacroDefinition& macro, const char* end, const char* opener, int line) {
    const Names::Scope scope(names_);
    parameters(macro);
    body_of_macro(macro, end, opener, line);
  }

  void body_of_macro(MacroDefinition& macro, const char* end, const char* opener, int line) {
    for (const char* special : {"varargs", "kwargs", "caller"}) names_.set(special);
    end_of_tag();
    std::set<std::string, std::less<>> outside;
    outside.swap(names_.mentioned());
    macro.body = inner_block(end, opener, line);
    const auto& inside = names_.mentioned();
    macro.uses_varargs = inside.count("varargs");
    macro.uses_kwargs = inside.count("kwargs");
    macro.uses_caller = inside.count("caller");
    names_.mentioned().merge(outside);
  }

  Tokens tokens_;
  Names names_;
  ExpressionParser expressions_;
  int loops_ = 0;  // of the body at hand that are open
};

}  // namespace

ParsedTemplate parse(std::string_view source, const std::string& name) {
  return Parser(source, name).run();
}

}  // namespace hearth::jinja
