// Cuts a template into what it says literally and the tokens of its tags.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "quant/error.h"

namespace hearth::jinja {

struct Token {
  enum class Kind { data, block_begin, block_end, print_begin, print_end, name, text, integer, real, symbol, end };
  Kind kind = Kind::end;
  int line = 1;
  std::string text;  // of data, names and symbols as they are written; of strings decoded
  int64_t integer = 0;
  double real = 0;

  bool is_symbol(std::string_view s) const { return kind == Kind::symbol && text == s; }
  bool is_name(std::string_view s) const { return kind == Kind::name && text == s; }
};

// For messages: 'for', the end of the template, ...
std::string describe(const Token& token);

// Error(model) with the name of the template and the line.
[[noreturn]] void fail_at(const std::string& name, int line, const std::string& message);

// The last token is `end`. As transformers sets Jinja up: trim_blocks and lstrip_blocks on, the template's last newline
// dropped. Throws Error(model), "NAME: line 3: expected ..., found ...".
std::vector<Token> tokenize(std::string_view source, const std::string& name);

}  // namespace hearth::jinja
