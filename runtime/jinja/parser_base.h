// What the parser of statements and that of expressions share: the tokens, and the names that are known.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/jinja/ast.h"
#include "runtime/jinja/lexer.h"

namespace hearth::jinja {

// A template nested deeper than this is refused: parsing, evaluating and freeing it are recursive.
constexpr int kMaxParseDepth = 200;

class Tokens {
 public:
  Tokens(std::string_view source, const std::string& name) : name_(name), tokens_(tokenize(source, name)) {}

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  int line() const { return peek().line; }
  bool skip_symbol(std::string_view s) { return peek().is_symbol(s) && (next(), true); }
  bool skip_name(std::string_view s) { return peek().is_name(s) && (next(), true); }
  void expect_symbol(std::string_view s) {
    if (!skip_symbol(s)) fail_found("'" + std::string(s) + "'");
  }
  std::string expect_name(const char* what) {
    if (peek().kind != Token::Kind::name) fail_found(what);
    return next().text;
  }
  void expect(Token::Kind kind) {
    if (peek().kind != kind) fail_found(describe({kind}));
    next();
  }
  [[noreturn]] void fail_found(const std::string& expected) const {
    fail_at(name_, line(), "expected " + expected + ", found " + describe(peek()));
  }
  [[noreturn]] void refuse(const std::string& message) const { refuse_at(line(), message); }
  [[noreturn]] void refuse_at(int line, const std::string& message) const { fail_at(name_, line, message); }

  // Held while something nested is parsed.
  class Level {
   public:
    explicit Level(Tokens& tokens, bool now = true) : tokens_(tokens) {
      if (now) deeper();
    }
    ~Level() { tokens_.depth_ -= levels_; }
    Level(const Level&) = delete;
    // Another one, until the end of this object: for what a loop nests.
    void deeper() {
      if (tokens_.depth_ >= kMaxParseDepth)
        tokens_.refuse(fmt::format("expected at most {} levels of nesting, found more", kMaxParseDepth));
      ++levels_;
      ++tokens_.depth_;
    }

   private:
    Tokens& tokens_;
    int levels_ = 0;
  };

 private:
  const std::string& name_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

// Which names are set where parsing has arrived.
class Names {
 public:
  // A block's: what is set in it is unknown after it.
  class Scope {
   public:
    explicit Scope(Names& names) : names_(names), size_(names.set_.size()) {}
    ~Scope() { names_.set_.resize(size_); }
    Scope(const Scope&) = delete;

   private:
    Names& names_;
    size_t size_;
  };

  void set(const std::string& name) { set_.push_back(name); }
  void read(const std::string& name) {
    mentioned_.insert(name);
    if (std::find(set_.begin(), set_.end(), name) == set_.end()) reads_.insert(name);
  }

  const std::set<std::string, std::less<>>& reads() const { return reads_; }
  // All names read since it was emptied, set or not; for macros, which ask whether theirs is `caller` or `varargs`.
  std::set<std::string, std::less<>>& mentioned() { return mentioned_; }

 private:
  std::vector<std::string> set_;
  std::set<std::string, std::less<>> reads_, mentioned_;
};

}  // namespace hearth::jinja
