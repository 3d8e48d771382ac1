#include "runtime/tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>
#include <utility>

#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "runtime/tokenizer/pretokenizer.h"
#include "runtime/tokenizer/tokenizer_bpe.h"
#include "runtime/tokenizer/tokenizer_vocabulary.h"

namespace hearth {

namespace {

// Texts joined, each repaired, and where in them control tokens count.
struct JoinedText {
  struct Stretch {
    size_t end;
    bool special;
  };
  std::string text;
  std::vector<Stretch> stretches;  // neighbours differ

  void append(std::string_view more, bool special) {
    text += repair_utf8(more);
    if (stretches.empty() || stretches.back().special != special) stretches.push_back({0, special});
    stretches.back().end = text.size();
  }
};

// Tokens that are recognised in text as a whole, before anything else: control tokens where they are allowed,
// user-defined ones everywhere. The leftmost counts, and of several at one place the longest.
class AddedTokens {
 public:
  struct Found {
    Token token;
    size_t begin, end;
  };

  void add(const std::string& text, Token token, bool control) {
    tokens_.emplace(text, Entry{token, control});
    std::vector<size_t>& lengths = lengths_[static_cast<unsigned char>(text[0])];
    const auto place = std::lower_bound(lengths.begin(), lengths.end(), text.size(), std::greater<>());
    if (place == lengths.end() || *place != text.size()) lengths.insert(place, text.size());
  }

  // The first one that begins at `begin` or later.
  std::optional<Found> next(const JoinedText& joined, size_t begin) const {
    const std::string_view text = joined.text;
    auto stretch = std::partition_point(joined.stretches.begin(), joined.stretches.end(),
                                        [&](const JoinedText::Stretch& s) { return s.end <= begin; });
    for (size_t at = begin; at < text.size(); ++at) {
      while (stretch->end <= at) ++stretch;
      const size_t control_end = stretch->special ? stretch->end : at;
      for (const size_t length : lengths_[static_cast<unsigned char>(text[at])]) {
        if (length > text.size() - at) continue;
        const auto entry = tokens_.find(text.substr(at, length));
        if (entry == tokens_.end()) continue;
        if (entry->second.control && at + length > control_end) continue;
        return Found{entry->second.token, at, at + length};
      }
    }
    return std::nullopt;
  }

  std::optional<Token> find(std::string_view text) const {
    const auto entry = tokens_.find(text);
    return entry == tokens_.end() ? std::nullopt : std::optional(entry->second.token);
  }

 private:
  struct Entry {
    Token token;
    bool control;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> tokens_;
  std::array<std::vector<size_t>, 256> lengths_;  // of the tokens that begin with this byte, longest first
};

std::string required_string(const GgufMetadata& metadata, const char* key) {
  const std::optional<std::string> value = metadata.string(key);
  require(value.has_value(), ErrorKind::format, "{}: key {} is missing", metadata.source, key);
  return *value;
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(const GgufMetadata& metadata)
      : vocabulary(read_vocabulary(metadata)),
        pretokenizer(required_string(metadata, key::kTokenizerPre), metadata.source),
        bpe(vocabulary.byte_tokens, std::move(vocabulary.merges)) {
    for (uint32_t rank = 0; rank < bpe.merges().size(); ++rank) {
      const Merge& merge = bpe.merges()[rank];
      const uint32_t first = bpe.rank(merge.left, merge.right);
      require(first == rank, ErrorKind::format, "{}: merges {} and {} are of the same pair", metadata.source, first,
              rank);
    }
    for (size_t id = 0; id < vocabulary.types.size(); ++id) {
      const bool control = vocabulary.types[id] == TokenType::control;
      if (control || vocabulary.types[id] == TokenType::user_defined)
        added.add(vocabulary.bytes[id], Token(id), control);
    }
  }

  // Of a token that does not exist: unused.
  TokenType type(Token token) const {
    const bool exists = token >= 0 && size_t(token) < vocabulary.types.size();
    return exists ? vocabulary.types[size_t(token)] : TokenType::unused;
  }

  void encode(const JoinedText& joined, std::vector<Token>& tokens) const {
    Bpe::Scratch scratch;
    const std::string_view text = joined.text;
    size_t done = 0;
    while (done < text.size()) {
      const auto found = added.next(joined, done);
      const size_t end = found ? found->begin : text.size();
      for (const std::string_view word : pretokenizer.split(text.substr(done, end - done)))
        bpe.encode(word, scratch, tokens);
      if (found) tokens.push_back(found->token);
      done = found ? found->end : end;
    }
  }

  Vocabulary vocabulary;
  PreTokenizer pretokenizer;
  Bpe bpe;
  AddedTokens added;
};

Tokenizer::Tokenizer(const GgufMetadata& metadata) {
  const std::string model = required_string(metadata, key::kTokenizerModel);
  require(model == "gpt2", ErrorKind::model, "{}: tokenizer model '{}' is not supported (gpt2, byte-level BPE, is)",
          metadata.source, model);
  impl_ = std::make_unique<Impl>(metadata);
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<Token> Tokenizer::encode(std::string_view text, bool special) const {
  JoinedText joined;
  joined.append(text, special);
  std::vector<Token> tokens;
  impl_->encode(joined, tokens);
  return tokens;
}

std::vector<Token> Tokenizer::encode(std::span<const PromptPart> parts) const {
  std::vector<Token> tokens;
  JoinedText joined;
  for (const PromptPart& part : parts) {
    if (part.tokens.empty()) {
      joined.append(part.text, part.special);
      continue;
    }
    impl_->encode(std::exchange(joined, {}), tokens);
    tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
  }
  impl_->encode(joined, tokens);
  return tokens;
}

std::string Tokenizer::bytes_of(Token token, bool special) const {
  const bool exists = token >= 0 && size_t(token) < size();
  const bool hidden = is_control(token) || is_unused(token);
  return exists && (special || !hidden) ? impl_->vocabulary.bytes[size_t(token)] : "";
}

std::string Tokenizer::decode(std::span<const Token> tokens, bool special) const {
  std::string out;
  for (const Token token : tokens) out += bytes_of(token, special);
  return out;
}

size_t Tokenizer::size() const {
  return impl_->vocabulary.bytes.size();
}

bool Tokenizer::is_control(Token token) const {
  return impl_->type(token) == TokenType::control || impl_->type(token) == TokenType::unknown;
}

bool Tokenizer::is_unused(Token token) const {
  return impl_->type(token) == TokenType::unused;
}

std::optional<Token> Tokenizer::find(std::string_view text) const {
  if (const auto token = impl_->added.find(text)) return token;
  const std::vector<std::string>& bytes = impl_->vocabulary.bytes;
  for (size_t id = 0; id < bytes.size(); ++id)
    if (bytes[id] == text && impl_->vocabulary.types[id] == TokenType::normal) return Token(id);
  return std::nullopt;
}

std::optional<Token> Tokenizer::bos() const {
  return impl_->vocabulary.bos;
}
std::optional<Token> Tokenizer::eos() const {
  return impl_->vocabulary.eos;
}
bool Tokenizer::ends_text(Token token) const {
  const std::vector<Token>& others = impl_->vocabulary.other_ends;
  return token == impl_->vocabulary.eos || std::find(others.begin(), others.end(), token) != others.end();
}
std::optional<Token> Tokenizer::pad() const {
  return impl_->vocabulary.pad;
}
bool Tokenizer::add_bos() const {
  return impl_->vocabulary.add_bos;
}

}  // namespace hearth
