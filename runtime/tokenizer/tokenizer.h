// Byte-level BPE with the DeepSeek pre-tokenizers (docs/model.md section 6).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/gguf.h"
#include "runtime/support/token.h"
#include "runtime/tokenizer/utf8.h"

namespace hearth {

// A stretch of a prompt. Where `special` is set, the text of control tokens becomes those tokens (templates); where it
// is not, it stays text (whatever a user typed). Words may merge across the border of two parts, as if the texts had
// been joined first (each is well-formed or repaired by itself, though). A part that carries `tokens` (a remembered
// answer) stands for exactly those and is a hard border.
struct PromptPart {
  std::string text;
  bool special = false;
  std::vector<Token> tokens = {};
};

class Tokenizer {
 public:
  // Reads tokenizer.ggml.*; a file without tensors will do. Throws Error(model) for an unknown tokenizer model or
  // pre-tokenizer, Error(format) for a missing key and for vocabulary and merges that contradict each other.
  explicit Tokenizer(const GgufMetadata& metadata);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // No BOS is added. Invalid UTF-8 is read as U+FFFD, one per maximal ill-formed piece (Unicode 3.9, as Python does).
  std::vector<Token> encode(std::string_view text, bool special) const;
  std::vector<Token> encode(std::span<const PromptPart> parts) const;

  // The bytes of one token. Control and unused tokens give their text only when `special`; rows past the last token
  // (the model's vocabulary may be padded) are empty and unused.
  std::string bytes_of(Token token, bool special = false) const;
  std::string decode(std::span<const Token> tokens, bool special = false) const;

  size_t size() const;                 // entries, unused padding included
  bool is_control(Token token) const;  // never shown to people
  bool is_unused(Token token) const;   // padding rows: must never be sampled
  // The token that stands for exactly these bytes, e.g. "<｜User｜>" or " the"; of several the special one.
  std::optional<Token> find(std::string_view text) const;
  std::optional<Token> bos() const;
  std::optional<Token> eos() const;
  bool ends_text(Token token) const;  // eos, and others that the file names beside it
  std::optional<Token> pad() const;
  bool add_bos() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
