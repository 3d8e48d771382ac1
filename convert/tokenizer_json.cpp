#include "convert/tokenizer_json.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "convert/json_file.h"
#include "quant/checksum.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "quant/mapped_file.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxTokenizerBytes = 256'000'000;

// The deepseek-llm pattern lists 2729 letters by their code points. The list itself lives where it is used, in the
// tokenizer; here a checksum tells that a file has exactly this one.
constexpr uint64_t kLetterClassChecksum = 0x459069f94f419dcd;
constexpr std::string_view kLetterPrefix = "\\s?[", kLetterSuffix = "]+";
constexpr const char* kLetters = "\\s?[LETTERS]+";

constexpr const char* kCjk = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";

// The pre-tokenizers that the runtime knows, as the patterns of tokenizer.json in order (fact sheet, section 8).
const struct {
  const char* name;
  std::vector<std::string> patterns;
} kPreTokenizers[] = {
    {"deepseek-llm",
     {"[\\r\\n]", kLetters, "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$", kCjk,
      "\\p{N}"}},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kCjk, "\\p{N}"}},
    {"deepseek-v3",
     {"\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
      "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
};

// Line ends may be written as themselves or escaped: one spelling for the comparison.
std::string normalized_pattern(const std::string& regex) {
  if (regex.starts_with(kLetterPrefix) && regex.ends_with(kLetterSuffix)) {
    const std::string_view letters = std::string_view(regex).substr(
        kLetterPrefix.size(), regex.size() - kLetterPrefix.size() - kLetterSuffix.size());
    if (checksum(std::as_bytes(std::span(letters))) == kLetterClassChecksum) return kLetters;
  }
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

// The pattern of one step, or a description of it that equals none.
std::string step_pattern(const Json& step) {
  const std::string type = step.value("type", Json()).is_string() ? step["type"].get<std::string>() : "";
  if (type == "Digits" && step.value("individual_digits", Json()) == true) return "\\p{N}";
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
    read_added_tokens(json);
    fill_unused();
    read_merges(json);
    read_settings();
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
    for (const auto& known : kPreTokenizers) {
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
    for (const auto& [token, id] : vocab->items()) put(checked_id(id, token), token, TokenType::normal);
  }

  // Control tokens are those that are marked special, and those written like one: DeepSeek-V3 does not mark its role
  // and tool tokens, and text that a user types must not turn into them.
  static bool is_control(const std::string& token, bool special) {
    const bool wide = token.starts_with("<\uff5c") && token.ends_with("\uff5c>");
    const bool narrow = token.starts_with("<|") && token.ends_with("|>");
    return special || wide || narrow;
  }

  void read_added_tokens(const Json& json) {
    const auto added = json.find("added_tokens");
    if (added == json.end() || added->is_null()) return;
    if (!added->is_array()) corrupt("added_tokens: expected an array, found {}", json_text(*added));
    for (const Json& entry : *added) {
      const bool complete = entry.is_object() && entry.contains("id") && entry.value("content", Json()).is_string();
      if (!complete) corrupt("added_tokens: expected objects with id and content, found {}", json_text(entry));
      const std::string token = entry["content"].get<std::string>();
      for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
        if (entry.value(flag, Json()) == true) unsupported("added token \"{}\": {} is not supported", token, flag);
      }
      const bool control = is_control(token, entry.value("special", Json()) == true);
      put(checked_id(entry["id"], token), token, control ? TokenType::control : TokenType::user_defined);
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
      // "left right" until 2024, ["left", "right"] since.
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
        if (!ids_.contains(token))
          corrupt("merge {} ({}): \"{}\" is not in the vocabulary", rank, json_text(merge), token);
      }
      out_.merges.push_back(left + " " + right);
    }
  }

  // "text", or {"content": "text", ...}
  std::optional<int64_t> named_token(const JsonFields& config, const char* key) const {
    const Json* value = config.find(key);
    if (!value) return std::nullopt;
    const Json& text = value->is_object() && value->contains("content") ? (*value)["content"] : *value;
    if (!text.is_string()) config.refuse("{}: expected the text of a token, found {}", key, json_text(*value));
    const auto it = ids_.find(text.get<std::string>());
    if (it == ids_.end()) config.refuse("{} {} is not in the vocabulary of tokenizer.json", key, json_text(text));
    return it->second;
  }

  void read_settings() {
    const std::string path = (fs::path(texts_.dir) / "tokenizer_config.json").string();
    const Json json = parse_json_object(texts_.tokenizer_config, path);
    const JsonFields config(json, path);
    out_.bos = named_token(config, "bos_token");
    out_.eos = named_token(config, "eos_token");
    out_.pad = named_token(config, "pad_token");
    out_.add_bos = config.boolean_or("add_bos_token", true);
    out_.add_eos = config.boolean_or("add_eos_token", false);
    read_generation_config();
    read_chat_template(config);
  }

  void read_generation_config() {
    if (!texts_.generation_config) return;
    const std::string path = (fs::path(texts_.dir) / "generation_config.json").string();
    const Json json = parse_json_object(*texts_.generation_config, path);
    const Json eos = json.value("eos_token_id", Json());  // an id, or a list of them
    const Json first = eos.is_array() && !eos.empty() ? eos[0] : eos;
    if (!first.is_number_unsigned() || first.get<uint64_t>() >= uint64_t(vocab_size_)) return;
    const int64_t id = first.get<int64_t>();
    if (!out_.eos) out_.eos = id;
    if (*out_.eos != id) {
      out_.notes.push_back(fmt::format(
          "generation_config.json ends on token {}, the tokenizer on {}: the latter counts", id, *out_.eos));
    }
  }

  // A file of its own, a text, or a list of named texts.
  void read_chat_template(const JsonFields& config) {
    if (texts_.chat_template) {
      out_.chat_template = std::string(*texts_.chat_template);
      return;
    }
    const Json* value = config.find("chat_template");
    if (value && value->is_string()) out_.chat_template = value->get<std::string>();
    if (value && value->is_array()) {
      for (const Json& entry : *value) {
        if (entry.is_object() && entry.value("name", Json()) == "default" &&
            entry.value("template", Json()).is_string()) {
          out_.chat_template = entry["template"].get<std::string>();
        }
      }
    }
    if (value && !out_.chat_template) {
      config.refuse("chat_template: expected a text or a list with one named default, found {}", json_text(*value));
    }
    if (!out_.chat_template) out_.notes.push_back("the checkpoint has no chat template");
  }

  const TokenizerTexts& texts_;
  const std::string path_;
  const int64_t vocab_size_;
  HfTokenizer out_;
  std::unordered_map<std::string, int64_t> ids_;
};

// A file that is mapped while its text is used.
struct TextFile {
  TextFile(const fs::path& path, uint64_t max_bytes) : file(path.string()) {
    require(file.size() <= max_bytes, ErrorKind::format, "{}: expected at most {} bytes, found {}", file.path(),
            max_bytes, file.size());
  }
  std::string_view text() const { return {reinterpret_cast<const char*>(file.bytes().data()), file.size()}; }
  MappedFile file;
};

std::optional<TextFile> optional_text(const fs::path& path, uint64_t max_bytes) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  return TextFile(path, max_bytes);
}

}  // namespace

HfTokenizer parse_hf_tokenizer(const TokenizerTexts& texts, int64_t vocab_size) {
  try {
    return TokenizerReader(texts, vocab_size).read();
  } catch (const Json::exception& error) {  // a value of another kind where the reader did not ask first
    fail(ErrorKind::format, "{}: tokenizer files of an unexpected form: {}", texts.dir, one_line(error.what()));
  }
}

HfTokenizer read_hf_tokenizer(const std::string& dir, int64_t vocab_size) {
  const fs::path folder(dir);
  const TextFile json(folder / "tokenizer.json", kMaxTokenizerBytes);
  const TextFile config(folder / "tokenizer_config.json", kMaxConfigBytes);
  const auto chat_template = optional_text(folder / "chat_template.jinja", kMaxConfigBytes);
  const auto generation = optional_text(folder / "generation_config.json", kMaxConfigBytes);
  TokenizerTexts texts{dir, json.text(), config.text(), {}, {}};
  if (chat_template) texts.chat_template = chat_template->text();
  if (generation) texts.generation_config = generation->text();
  return parse_hf_tokenizer(texts, vocab_size);
}

void add_tokenizer_metadata(const HfTokenizer& t, GgufMetadata& metadata) {
  metadata.set(key::kTokenizerModel, GgufValue::of_string("gpt2"));
  metadata.set(key::kTokenizerPre, GgufValue::of_string(t.pre));
  metadata.set(key::kTokens, GgufValue::of_strings(t.tokens));
  metadata.set(key::kTokenTypes, GgufValue::of_i32s(t.types));
  metadata.set(key::kMerges, GgufValue::of_strings(t.merges));
  if (t.bos) metadata.set(key::kBosTokenId, GgufValue::of_u32(uint32_t(*t.bos)));
  if (t.eos) metadata.set(key::kEosTokenId, GgufValue::of_u32(uint32_t(*t.eos)));
  if (t.pad) metadata.set(key::kPaddingTokenId, GgufValue::of_u32(uint32_t(*t.pad)));
  metadata.set(key::kAddBosToken, GgufValue::of_bool(t.add_bos));
  metadata.set(key::kAddEosToken, GgufValue::of_bool(t.add_eos));
  if (t.chat_template) metadata.set(key::kChatTemplate, GgufValue::of_string(*t.chat_template));
}

}  // namespace hearth
