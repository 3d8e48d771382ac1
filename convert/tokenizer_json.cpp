#include "convert/tokenizer_json.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>
#include <unordered_set>

#include "convert/json_file.h"
#include "convert/pre_tokenizer_patterns.h"
#include "convert/tokenizer_settings.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

// Files write line ends as they are or escaped; the result has them escaped, for the comparison.
std::string normalized_pattern(const std::string& regex) {
  std::string out;
  for (char c : regex) {
    if (c == '\r') {
      out += "\\r";
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

// The pattern of one step, or a description that equals no pattern.
std::string step_pattern(const Json& step) {
  const std::string type = step.value("type", Json()).is_string() ? step["type"].get<std::string>() : "";
  if (type == "Digits" && step.value("individual_digits", Json()) == true) return kOneDigit;
  if (type == "Split" && step.value("behavior", Json()) == "Isolated" && step.value("invert", Json()) != true) {
    const Json pattern = step.value("pattern", Json());
    if (pattern.is_object() && pattern.size() == 1 && pattern.contains("Regex") && pattern["Regex"].is_string()) {
      return normalized_pattern(pattern["Regex"].get<std::string>());
    }
  }
  return "step " + json_text(step);
}

// The last step, which maps bytes to letters and splits nothing.
bool is_byte_level(const Json& step) {
  return step.is_object() && step.value("type", Json()) == "ByteLevel" && step.value("use_regex", Json()) == false &&
         step.value("add_prefix_space", Json()) != true;
}

class TokenizerReader {
 public:
  TokenizerReader(const TokenizerTexts& texts, int64_t vocab_size)
      : texts_(texts), path_((fs::path(texts.dir) / "tokenizer.json").string()), vocab_size_(vocab_size) {}

  HfTokenizer read() {
    const Json json = parse_json_object(texts_.tokenizer_json, path_);
    out_.pre = recognise_pre_tokenizer(json);
    refuse_normalizer(json);
    read_vocabulary(json);
    read_merges(json);
    read_added_tokens(json);
    fill_unused();
    read_token_settings(texts_, ids_, out_);
    return std::move(out_);
  }

 private:
  template <class... Args>
  [[noreturn]] void corrupt(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::format, "{}: {}", path_, one_line(fmt::format(format, std::forward<Args>(args)...)));
  }
  template <class... Args>
  [[noreturn]] void unsupported(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::model, "{}: {}", path_, one_line(fmt::format(format, std::forward<Args>(args)...)));
  }

  std::string recognise_pre_tokenizer(const Json& json) const {
    const Json step = json.value("pre_tokenizer", Json());
    std::vector<Json> steps;
    if (step.is_object() && step.value("type", Json()) == "Sequence" &&
        step.value("pretokenizers", Json()).is_array()) {
      steps = step["pretokenizers"].get<std::vector<Json>>();
    } else {
      steps = {step};
    }
    std::vector<std::string> patterns;
    for (size_t i = 0; i < steps.size(); ++i) {
      if (i + 1 == steps.size() && is_byte_level(steps[i])) continue;
      patterns.push_back(steps[i].is_object() ? step_pattern(steps[i]) : "step " + json_text(steps[i]));
    }
    const bool byte_level = !steps.empty() && is_byte_level(steps.back());
    for (const auto& known : known_pre_tokenizers()) {
      if (byte_level && patterns == known.patterns) return known.name;
    }
    unsupported("expected the pre-tokenizer of deepseek-llm, deepseek-coder or deepseek-v3, found {} steps: {}",
                steps.size(), patterns.empty() ? json_text(step) : patterns.front());
  }

  void refuse_normalizer(const Json& json) const {
    const Json normalizer = json.value("normalizer", Json());
    const bool none = normalizer.is_null() ||
                      (normalizer.is_object() && normalizer.value("type", Json()) == "Sequence" &&
                       normalizer.value("normalizers", Json()).is_array() && normalizer["normalizers"].empty());
    if (!none) unsupported("expected no normalizer, found {}", json_text(normalizer));
  }

  void put(int64_t id, const std::string& token, TokenType type) {
    const size_t i = size_t(id);
    if (token.empty()) corrupt("id {} has an empty token", id);
    if (out_.types[i] != 0 && out_.tokens[i] != token) {
      corrupt("id {} is both \"{}\" and \"{}\"", id, out_.tokens[i], token);
    }
    const auto [it, is_new] = ids_.try_emplace(token, id);
    if (!is_new && it->second != id) corrupt("token \"{}\" has two ids: {} and {}", token, it->second, id);
    out_.tokens[i] = token;
    out_.types[i] = int32_t(type);
  }

  int64_t checked_id(const Json& value, const std::string& token) const {
    const bool whole = value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(INT64_MAX);
    if (!whole) corrupt("token \"{}\": expected an id, found {}", token, json_text(value));
    const int64_t id = value.get<int64_t>();
    if (id >= vocab_size_)
      corrupt("token \"{}\": expected an id below vocab_size {}, found {}", token, vocab_size_, id);
    return id;
  }

  // Whether the token is one character of the byte alphabet, which has one or two bytes in UTF-8.
  static bool is_byte(const std::string& token) {
    const auto first = static_cast<unsigned char>(token[0]);
    return token.size() == 1 || (token.size() == 2 && first >= 0xC2 && first <= 0xC5);
  }

  void read_vocabulary(const Json& json) {
    const auto model = json.find("model");
    if (model == json.end() || !model->is_object()) corrupt("has no model");
    if (model->value("type", Json("BPE")) != "BPE")
      unsupported("expected a BPE model, found {}", json_text((*model)["type"]));
    for (const char* flag : {"byte_fallback", "ignore_merges"}) {
      if (model->value(flag, Json()) == true) unsupported("{} is not supported", flag);
    }
    for (const char* text : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json value = model->value(text, Json());
      if (!value.is_null() && value != "") unsupported("{} {} is not supported", text, json_text(value));
    }
    const auto vocab = model->find("vocab");
    if (vocab == model->end() || !vocab->is_object() || vocab->empty()) corrupt("has no vocab");
    out_.tokens.resize(size_t(vocab_size_));
    out_.types.resize(size_t(vocab_size_));
    for (const auto& [token, id] : vocab->items()) {
      put(checked_id(id, token), token, TokenType::normal);
      if (is_byte(token)) ordinary_.insert(id.get<int64_t>());
    }
  }

  // Control tokens are those marked special, and those written like one: text that a user types must not become them.
  static bool is_control(const std::string& token, bool special) { return special || looks_like_control(token); }

  void read_added_tokens(const Json& json) {
    const auto added = json.find("added_tokens");
    if (added == json.end() || added->is_null()) return;
    if (!added->is_array()) corrupt("added_tokens: expected an array, found {}", json_text(*added));
    for (const Json& entry : *added) {
      const bool complete = entry.is_object() && entry.contains("id") && entry.value("content", Json()).is_string();
      if (!complete) corrupt("added_tokens: expected objects with id and content, found {}", json_text(entry));
      const std::string token = entry["content"].get<std::string>();
      const int64_t id = checked_id(entry["id"], token);
      const TokenType type = added_type(entry, id, token);
      if (type != TokenType::normal) note_unkept_flags(entry, token);
      put(id, token, type);
    }
  }

  // The type of an added token. An ordinary word may be added once more; merges still make it from text, even if it is
  // marked special, so it cannot be a control token, which text must never become.
  TokenType added_type(const Json& entry, int64_t id, const std::string& token) {
    const bool special = entry.value("special", Json()) == true;
    if (!ordinary_.contains(id)) return is_control(token, special) ? TokenType::control : TokenType::user_defined;
    const char* why = nullptr;
    if (!std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; })) {
      why = "its letters stand for other bytes";
    } else if (entry.value("single_word", Json()) == true) {
      why = "GGUF cannot say that it matches single words only";
    }
    if (why) {
      out_.notes.push_back(fmt::format("added token \"{}\" is an ordinary one and stays so: {}", one_line(token), why));
      return TokenType::normal;
    }
    out_.notes.push_back(fmt::format("added token \"{}\" is an ordinary one too: it is matched as a whole{}",
                                     one_line(token), special ? ", and shown" : ""));
    return TokenType::user_defined;
  }

  void note_unkept_flags(const Json& entry, const std::string& token) {
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
      if (entry.value(flag, Json()) != true) continue;
      out_.notes.push_back(fmt::format(
          "added token \"{}\": {} is left out, GGUF has no word for it: {}", one_line(token), flag,
          flag == std::string_view("single_word") ? "it is matched inside of words too" : "blanks beside it stay"));
    }
  }

  // The embedding may have more rows than there are tokens.
  void fill_unused() {
    int64_t n_unused = 0;
    for (int64_t id = 0; id < vocab_size_; ++id) {
      if (out_.types[size_t(id)] != 0) continue;
      put(id, fmt::format("[PAD{}]", id), TokenType::unused);
      ++n_unused;
    }
    if (n_unused > 0) {
      out_.notes.push_back(
          fmt::format("{} of {} rows of the vocabulary have no token: written as unused", n_unused, vocab_size_));
    }
  }

  void read_merges(const Json& json) {
    const auto merges = json["model"].find("merges");
    if (merges == json["model"].end() || !merges->is_array()) corrupt("has no merges");
    out_.merges.reserve(merges->size());
    for (const Json& merge : *merges) {
      // "left right" until 2024, ["left", "right"] since then.
      std::string left, right;
      if (merge.is_string()) {
        const std::string& text = merge.get_ref<const std::string&>();
        const size_t space = text.find(' ');
        if (space != std::string::npos) left = text.substr(0, space), right = text.substr(space + 1);
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get<std::string>(), right = merge[1].get<std::string>();
      }
      const size_t rank = out_.merges.size();
      if (left.empty() || right.empty() || left.find(' ') != std::string::npos ||
          right.find(' ') != std::string::npos) {
        corrupt("merge {}: expected two tokens without spaces, found {}", rank, json_text(merge));
      }
      for (const std::string& token : {left, right, left + right}) {
        const auto id = ids_.find(token);
        if (id == ids_.end()) corrupt("merge {} ({}): \"{}\" is not in the vocabulary", rank, json_text(merge), token);
        ordinary_.insert(id->second);
      }
      out_.merges.push_back(left + " " + right);
    }
  }

  const TokenizerTexts& texts_;
  const std::string path_;
  const int64_t vocab_size_;
  HfTokenizer out_;
  std::unordered_map<std::string, int64_t> ids_;
  std::unordered_set<int64_t> ordinary_;  // ids of single bytes and of tokens in merges
};

}  // namespace

bool looks_like_control(std::string_view token) {
  const bool wide = token.starts_with("<\uff5c") && token.ends_with("\uff5c>");
  const bool narrow = token.starts_with("<|") && token.ends_with("|>");
  return wide || narrow;
}

HfTokenizer parse_hf_tokenizer(const TokenizerTexts& texts, int64_t vocab_size) {
  try {
    return TokenizerReader(texts, vocab_size).read();
  } catch (const Json::exception& error) {  // a value of a type that the reader did not check
    fail(ErrorKind::format, "{}: tokenizer files of an unexpected form: {}", texts.dir, one_line(error.what()));
  }
}

}  // namespace hearth
