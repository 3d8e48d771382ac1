#include "runtime/tokenizer/tokenizer_vocabulary.h"

#include <string_view>
#include <unordered_map>
#include <utility>

#include "quant/error.h"
#include "runtime/tokenizer/utf8.h"

namespace hearth {

namespace {

// The alphabet in which byte-level vocabularies are written: a character for each byte. Visible Latin-1 characters
// stand for themselves; the 68 other bytes take the characters from U+0100 on, in order: Ġ is a space, Ċ a newline.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    byte_of_.fill(-1);
    int spare = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool visible = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      character_of_[size_t(byte)] = visible ? byte : spare++;
      byte_of_[size_t(character_of_[size_t(byte)])] = byte;
    }
  }

  // The character of a byte, in UTF-8.
  std::string character(int byte) const {
    const int c = character_of_[size_t(byte)];
    if (c < 0x80) return {char(c)};
    return {char(0xC0 | c >> 6), char(0x80 | (c & 0x3F))};
  }

  // The bytes that `text` writes; nothing when it holds anything but characters of the alphabet.
  std::optional<std::string> bytes(std::string_view text) const {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const Utf8Piece piece = first_utf8_piece(text.substr(at));
      if (piece.kind != Utf8Piece::Kind::character || piece.length > 2) return std::nullopt;
      const int first = static_cast<unsigned char>(text[at]);
      const int c = piece.length == 1 ? first : (first & 0x1F) << 6 | (text[at + 1] & 0x3F);
      if (c >= kCharacters || byte_of_[size_t(c)] < 0) return std::nullopt;
      out += char(byte_of_[size_t(c)]);
      at += piece.length;
    }
    return out;
  }

 private:
  static constexpr int kCharacters = 0x100 + 68;
  std::array<int, 256> character_of_;     // code points
  std::array<int, kCharacters> byte_of_;  // by code point; -1: not in the alphabet
};

// Bytes without a place in well-formed UTF-8. Published vocabularies have no tokens for them.
bool never_in_utf8(int byte) {
  return byte == 0xC0 || byte == 0xC1 || byte >= 0xF5;
}

class Reader {
 public:
  explicit Reader(const GgufMetadata& metadata) : metadata_(metadata), texts_(strings(key::kTokens)) {
    read_types();
    read_bytes();
    ids_.reserve(texts_.size());
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (out.types[id] == TokenType::unused) continue;
      const auto [other, is_new] = ids_.emplace(texts_[id], int32_t(id));
      require(is_new, ErrorKind::format, "{}: tokens {} and {} are both '{}'", source(), other->second, id, texts_[id]);
    }
    read_byte_tokens();
    read_merges();
    out.bos = token_of(key::kBosTokenId);
    out.eos = token_of(key::kEosTokenId);
    out.pad = token_of(key::kPaddingTokenId);
    for (const char* key : {key::kEotTokenId, key::kEomTokenId}) {
      if (const auto end = token_of(key); end && end != out.eos) out.other_ends.push_back(*end);
    }
    out.add_bos = metadata.boolean(key::kAddBosToken).value_or(out.bos.has_value());  // published models want it
    require(!out.add_bos || out.bos, ErrorKind::format, "{}: key {} is missing", source(), key::kBosTokenId);
  }

  Vocabulary out;

 private:
  const std::string& source() const { return metadata_.source; }

  const std::vector<std::string>& strings(const char* key) const {
    const std::vector<std::string>* value = metadata_.strings(key);
    require(value != nullptr, ErrorKind::format, "{}: key {} is missing", source(), key);
    return *value;
  }

  void read_types() {
    const auto numbers = metadata_.integers(key::kTokenTypes);
    require(numbers.has_value(), ErrorKind::format, "{}: key {} is missing", source(), key::kTokenTypes);
    require(numbers->size() == texts_.size(), ErrorKind::format, "{}: {} tokens, but {} token types", source(),
            texts_.size(), numbers->size());
    for (size_t id = 0; id < texts_.size(); ++id) {
      const int64_t number = (*numbers)[id];
      require(number >= int64_t(TokenType::normal) && number <= int64_t(TokenType::byte), ErrorKind::format,
              "{}: token {} ('{}') is of type {}: expected 1 to 6", source(), id, texts_[id], number);
      require(!texts_[id].empty(), ErrorKind::format, "{}: token {} is empty", source(), id);
      const bool padding = texts_[id].starts_with("[PAD") && texts_[id] == fmt::format("[PAD{}]", id);
      out.types.push_back(padding ? TokenType::unused : TokenType(number));
    }
  }

  // Ordinary tokens are written in the byte alphabet, all others as they are.
  void read_bytes() {
    const ByteAlphabet alphabet;
    for (size_t id = 0; id < texts_.size(); ++id) {
      std::optional<std::string> bytes;
      if (out.types[id] == TokenType::normal) bytes = alphabet.bytes(texts_[id]);
      out.bytes.push_back(bytes ? std::move(*bytes) : texts_[id]);
    }
  }

  void read_byte_tokens() {
    const ByteAlphabet alphabet;
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = ids_.find(alphabet.character(byte));
      // A user-defined token of this text means the character itself, which is the byte in ASCII only.
      const TokenType type = found == ids_.end() ? TokenType::unused : out.types[size_t(found->second)];
      const bool has = type == TokenType::normal || (type == TokenType::user_defined && found->first.size() == 1);
      require(has || never_in_utf8(byte), ErrorKind::format, "{}: the vocabulary has no token for byte 0x{:02X} ('{}')",
              source(), byte, alphabet.character(byte));
      out.byte_tokens[size_t(byte)] = has ? found->second : -1;
    }
  }

  // A merge is written "left right"; neither of them holds a space, which the byte alphabet writes as Ġ.
  void read_merges() {
    const ByteAlphabet alphabet;
    const std::vector<std::string>& lines = strings(key::kMerges);
    out.merges.reserve(lines.size());
    std::string product;
    for (const std::string& line : lines) {
      const size_t space = line.find(' ', 1);
      require(space != std::string::npos && space + 1 < line.size(), ErrorKind::format,
              "{}: merge {} is '{}': expected two tokens", source(), out.merges.size(), line);
      const auto token = [&](std::string_view text) {
        const auto found = ids_.find(text);
        require(found != ids_.end(), ErrorKind::format,
                "{}: merge {} ('{}') needs the token '{}', which does not exist", source(), out.merges.size(), line,
                text);
        // A word that a user added though it existed is user-defined, and still made and taken by merges.
        const TokenType type = out.types[size_t(found->second)];
        require(type == TokenType::normal || type == TokenType::user_defined, ErrorKind::format,
                "{}: merge {} ('{}') needs the token '{}', which is not an ordinary one", source(), out.merges.size(),
                line, text);
        if (type == TokenType::user_defined)
          out.bytes[size_t(found->second)] = alphabet.bytes(text).value_or(std::string(text));
        return found->second;
      };
      const std::string_view left(line.data(), space), right(line.data() + space + 1, line.size() - space - 1);
      product.assign(left).append(right);
      out.merges.push_back({token(left), token(right), token(product)});
    }
  }

  std::optional<int32_t> token_of(const char* key) const {
    const auto id = metadata_.unsigned_integer(key);
    require(!id || *id < texts_.size(), ErrorKind::format, "{}: {} is {}, but there are {} tokens", source(), key,
            id.value_or(0), texts_.size());
    return id ? std::optional(int32_t(*id)) : std::nullopt;
  }

  const GgufMetadata& metadata_;
  const std::vector<std::string>& texts_;
  std::unordered_map<std::string_view, int32_t> ids_;  // by text as stored, without unused ones
};

}  // namespace

Vocabulary read_vocabulary(const GgufMetadata& metadata) {
  return std::move(Reader(metadata).out);
}

std::vector<std::string> vocabulary_guesses(const GgufMetadata& metadata) {
  std::vector<std::string> guesses;
  if (!metadata.find(key::kAddBosToken))
    guesses.push_back(fmt::format("{} is missing: assumed true (as in every DeepSeek-V2 and V3)", key::kAddBosToken));
  if (!metadata.find(key::kEosTokenId))
    guesses.push_back(fmt::format("{} is missing: no token ends an answer", key::kEosTokenId));
  return guesses;
}

}  // namespace hearth
