// Constrained output: what a text may be, and which bytes may come next in it.
//
// A grammar is compiled once and may be asked for by many; it and everything made of it belong to one thread at a time,
// for it grows while it is used. Memory of a grammar is bounded: what needs more ends in Error(resource).
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "runtime/grammar/refusal.h"

namespace hearth::grammar {

class TokenMask;
class TokenTrie;

// A place in a text.
class GrammarState {
 public:
  virtual ~GrammarState() = default;
  virtual std::unique_ptr<GrammarState> clone() const = 0;
  // False: no text of the grammar goes on like that; the state is dead then. Where it is true, some text does.
  virtual bool advance(uint8_t byte) = 0;
  virtual bool may_end() const = 0;
  virtual bool dead() const = 0;
  // Equal states have the same future; states of one grammar only.
  virtual uint64_t hash() const = 0;
  virtual bool same(const GrammarState& other) const = 0;
  // No token without '"' leads to where the text may end.
  virtual bool ends_behind_quote() const = 0;
  // Adds the tokens whose bytes may come next. See TokenMasks.
  virtual void allow_tokens(const TokenTrie& tokens, std::unordered_map<uint64_t, TokenMask>& parts,
                            TokenMask& mask) const = 0;
};

class Grammar {
 public:
  virtual ~Grammar() = default;
  virtual std::unique_ptr<GrammarState> start() const = 0;
};

struct SchemaOptions {
  int draft = 0;  // 4, 6, 7, 2019 or 2020; 0: what `$schema` says, else 2020
  // Whether `format` asserts something; it is an annotation otherwise, as 2020-12 has it by default. Formats of the
  // standard that cannot be asserted are refused then, unknown ones stay annotations.
  bool formats = false;
  // Between the parts of a document one blank, or one or two line ends and an indentation: against models that write
  // blanks for ever. And numbers end after 40 bytes where they may: against digits for ever. Else as JSON has it.
  bool few_blanks = false;
};

// JSON documents that satisfy a JSON Schema. Throws Refusal, its place a JSON pointer.
std::shared_ptr<const Grammar> compile_schema(std::string_view schema, const SchemaOptions& options = {});

// Texts of a grammar in GBNF, llama.cpp's dialect of BNF. Throws Refusal, its place "line N".
std::shared_ptr<const Grammar> compile_gbnf(std::string_view grammar);

// Reads a text; cheap to copy.
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)), state_(grammar_->start()) {}
  Matcher(const Matcher& other) : grammar_(other.grammar_), state_(other.state_->clone()) {}
  Matcher(Matcher&&) noexcept = default;
  Matcher& operator=(Matcher other) noexcept {
    std::swap(grammar_, other.grammar_);
    std::swap(state_, other.state_);
    return *this;
  }

  bool advance(uint8_t byte) { return state_->advance(byte); }
  // How many bytes were taken: all, or as many as stand in front of the first that may not come.
  size_t advance(std::string_view bytes);
  bool may_end() const { return state_->may_end(); }
  bool dead() const { return state_->dead(); }
  std::bitset<256> allowed() const;  // bytes that may come next
  const GrammarState& state() const { return *state_; }

 private:
  std::shared_ptr<const Grammar> grammar_;
  std::unique_ptr<GrammarState> state_;
};

}  // namespace hearth::grammar
