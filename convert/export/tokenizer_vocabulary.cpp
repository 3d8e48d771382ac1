#include "convert/export/tokenizer_vocabulary.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "convert/tokenizer_json.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

class VocabularySorter {
 public:
  explicit VocabularySorter(const GgufMetadata& metadata) : metadata_(metadata) {}

  ExportedVocabulary sort() {
    read_kind();
    read_types();
    find_words();
    read_named();
    fill_model();
    fill_added();
    return std::move(out_);
  }

 private:
  const std::string& source() const { return metadata_.source; }

  void read_kind() {
    const auto model = metadata_.string(key::kTokenizerModel);
    require(model.has_value(), ErrorKind::model, "{}: has no tokenizer ({} is missing)", source(),
            key::kTokenizerModel);
    require(*model == "gpt2", ErrorKind::model, "{}: {}: expected gpt2 (byte-level BPE), found {}", source(),
            key::kTokenizerModel, *model);
    const std::string pre = metadata_.string(key::kTokenizerPre).value_or("no such key");
    out_.pre = find_pre_tokenizer(pre);
    require(out_.pre != nullptr, ErrorKind::model,
            "{}: {}: expected deepseek-llm, deepseek-coder or deepseek-v3, found {}", source(), key::kTokenizerPre,
            pre);
  }

  const std::vector<std::string>& strings(const char* key) const {
    const std::vector<std::string>* value = metadata_.strings(key);
    require(value != nullptr, ErrorKind::format, "{}: key {} is missing", source(), key);
    return *value;
  }

  void read_types() {
    out_.tokens = &strings(key::kTokens);
    out_.merges = &strings(key::kMerges);
    const auto numbers = metadata_.integers(key::kTokenTypes);
    require(numbers && numbers->size() == out_.tokens->size(), ErrorKind::format, "{}: {}: expected {} types, found {}",
            source(), key::kTokenTypes, out_.tokens->size(), numbers ? numbers->size() : 0);
    for (size_t id = 0; id < numbers->size(); ++id) types_.push_back(type_of(int64_t(id), (*numbers)[id]));
  }

  TokenType type_of(int64_t id, int64_t number) {
    const std::string& text = out_.text(id);
    if (text == fmt::format("[PAD{}]", id)) return TokenType::unused;
    const auto type = TokenType(number);
    const bool known = type == TokenType::normal || type == TokenType::control || type == TokenType::user_defined ||
                       type == TokenType::unused;
    require(known, ErrorKind::format,
            "{}: token {} ('{}') is of type {}: expected 1 (normal), 3 (control), 4 (user-defined) or 5 (unused)",
            source(), id, text, number);
    if (type == TokenType::unused) return type;
    require(!text.empty(), ErrorKind::format, "{}: token {} is empty", source(), id);
    const auto [other, is_new] = ids_.emplace(text, id);
    require(is_new, ErrorKind::format, "{}: tokens {} and {} are both '{}'", source(), other->second, id, text);
    return type;
  }

  // What merges take and make, whatever else it is.
  void find_words() {
    std::string product;
    for (const std::string& merge : *out_.merges) {
      const size_t space = merge.find(' ', 1);
      require(space != std::string::npos && space + 1 < merge.size(), ErrorKind::format,
              "{}: merge '{}': expected two tokens", source(), merge);
      const std::string_view left(merge.data(), space), right(merge.data() + space + 1, merge.size() - space - 1);
      product.assign(left).append(right);
      for (const std::string_view token : {left, right, std::string_view(product)}) {
        const auto found = ids_.find(token);
        require(found != ids_.end(), ErrorKind::format, "{}: merge '{}': there is no token '{}'", source(), merge,
                token);
        words_.insert(found->second);
      }
    }
  }

  std::optional<int64_t> token(const char* key) const {
    const auto id = metadata_.unsigned_integer(key);
    require(!id || *id < types_.size(), ErrorKind::format, "{}: {}: expected less than {} tokens, found {}", source(),
            key, types_.size(), id.value_or(0));
    return id;
  }

  void read_named() {
    out_.bos = token(key::kBosTokenId);
    out_.eos = token(key::kEosTokenId);
    out_.pad = token(key::kPaddingTokenId);
    for (const auto& id : {out_.bos, out_.eos, out_.pad, token(key::kEotTokenId), token(key::kEomTokenId)}) {
      if (id) named_.insert(*id);
    }
    out_.add_bos = metadata_.boolean(key::kAddBosToken).value_or(out_.bos.has_value()) && out_.bos;
    out_.add_eos = metadata_.boolean(key::kAddEosToken).value_or(false) && out_.eos;
  }

  bool is_unused(int64_t id) const { return types_[size_t(id)] == TokenType::unused; }
  bool is_added(int64_t id) const {
    return types_[size_t(id)] == TokenType::control || types_[size_t(id)] == TokenType::user_defined;
  }
  // A single ASCII character is a byte as well as itself.
  bool is_word(int64_t id) const {
    return !is_added(id) || words_.contains(id) ||
           (out_.text(id).size() == 1 && types_[size_t(id)] != TokenType::control);
  }

  // From this id on the library counts added tokens as the file does: no gap before it, and nothing behind it but added
  // tokens in a row. Where there is a gap in front of all of them: the number of tokens.
  int64_t first_behind_model() const {
    const auto n = int64_t(types_.size());
    int64_t end = n;
    while (end > 0 && is_unused(end - 1)) --end;
    int64_t first = end;
    while (first > 0 && !is_unused(first - 1) && !is_word(first - 1)) --first;
    for (int64_t id = 0; id < first; ++id) {
      if (is_unused(id)) return n;
    }
    return first;
  }

  void fill_model() {
    const int64_t behind = first_behind_model();
    for (int64_t id = 0; id < behind; ++id) {
      if (!is_unused(id)) out_.in_model.push_back(id);
    }
  }

  // As published: what begins, ends or fills a text is special, and so is what no text is made of (<|EOT|>, place
  // holders). Roles, thoughts and tools are not, as clients look for them in decoded text. What is not written like a
  // control token is one by being special.
  bool is_special(int64_t id) const {
    if (types_[size_t(id)] != TokenType::control) return false;
    const std::string& text = out_.text(id);
    if (named_.contains(id) || !looks_like_control(text)) return true;
    constexpr const char* kNeverSaid[] = {"<|", "<\uff5cplace\u2581holder", "<\uff5c\u2581pad"};
    return std::ranges::any_of(kNeverSaid, [&](const char* begin) { return text.starts_with(begin); });
  }

  void fill_added() {
    for (int64_t id = 0; id < int64_t(types_.size()); ++id) {
      if (!is_added(id)) continue;
      ExportedVocabulary::AddedToken token;
      token.id = id;
      token.special = is_special(id);
      out_.added.push_back(token);
    }
  }

  const GgufMetadata& metadata_;
  ExportedVocabulary out_;
  std::vector<TokenType> types_;
  std::unordered_map<std::string_view, int64_t> ids_;
  std::unordered_set<int64_t> words_, named_;
};

}  // namespace

ExportedVocabulary exported_vocabulary(const GgufMetadata& metadata) {
  return VocabularySorter(metadata).sort();
}

}  // namespace hearth
