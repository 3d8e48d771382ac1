#include "convert/tokenizer_settings.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "convert/json_file.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "quant/mapped_file.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxTokenizerBytes = 256'000'000;

class SettingsReader {
 public:
  SettingsReader(const TokenizerTexts& texts, const std::unordered_map<std::string, int64_t>& ids, HfTokenizer& out)
      : texts_(texts), ids_(ids), out_(out) {}

  void read() {
    const std::string path = path_of("tokenizer_config.json");
    const Json json = parse_json_object(texts_.tokenizer_config, path);
    const JsonFields config(json, path);
    read_names(config);
    if (texts_.special_tokens_map) {
      const std::string map_path = path_of("special_tokens_map.json");
      const Json map = parse_json_object(*texts_.special_tokens_map, map_path);
      read_names(JsonFields(map, map_path));
    }
    out_.add_bos = config.boolean_or("add_bos_token", true);
    out_.add_eos = config.boolean_or("add_eos_token", false);
    read_chat_template(config);
  }

 private:
  std::string path_of(const char* name) const { return (fs::path(texts_.dir) / name).string(); }

  // A token that an earlier file named is kept.
  void read_names(const JsonFields& fields) {
    if (!out_.bos) out_.bos = named_token(fields, "bos_token", true);
    if (!out_.eos) out_.eos = named_token(fields, "eos_token", true);
    if (!out_.pad) out_.pad = named_token(fields, "pad_token", false);
  }

  // "text", or {"content": "text", ...}
  std::optional<int64_t> named_token(const JsonFields& fields, const char* key, bool matters) {
    const Json* value = fields.find(key);
    if (!value) return std::nullopt;
    const Json& text = value->is_object() && value->contains("content") ? (*value)["content"] : *value;
    const auto it = text.is_string() ? ids_.find(text.get<std::string>()) : ids_.end();
    if (it != ids_.end()) return it->second;
    if (matters && !text.is_string())
      fields.refuse("{}: expected the text of a token, found {}", key, json_text(*value));
    if (matters) fields.refuse("{} {} is not in the vocabulary of tokenizer.json", key, json_text(text));
    out_.notes.push_back(fmt::format("{} {} is not in the vocabulary: left aside", key, json_text(text)));
    return std::nullopt;
  }

  // The chat template: from a file of its own, or else from tokenizer_config.json.
  void read_chat_template(const JsonFields& config) {
    if (texts_.chat_template) {
      out_.chat_template = std::string(*texts_.chat_template);
    } else if (texts_.chat_template_json) {
      const std::string path = path_of("chat_template.json");
      const Json json = parse_json_object(*texts_.chat_template_json, path);
      const Json value = json.value("chat_template", json);
      out_.chat_template = template_text(&value, "chat_template.json");
    }
    if (!out_.chat_template) {
      out_.chat_template = template_text(config.find("chat_template"), "chat_template of tokenizer_config.json");
    }
    if (!out_.chat_template) {
      out_.notes.push_back("the checkpoint has no chat template: chat needs one to be named (--chat-template)");
    }
  }

  // A text, a list of {name, template}, or an object of templates by name. Of several, the one named default is taken;
  // a single one is taken whatever its name. Other forms only cause a note.
  std::optional<std::string> template_text(const Json* value, const char* place) {
    if (!value) return std::nullopt;
    if (value->is_string()) return value->get<std::string>();
    std::map<std::string, std::string> named;
    if (value->is_array()) {
      for (const Json& entry : *value) {
        if (!entry.is_object() || !entry.value("template", Json()).is_string()) continue;
        const Json name = entry.value("name", Json());
        named.emplace(name.is_string() ? name.get<std::string>() : "", entry["template"].get<std::string>());
      }
    } else if (value->is_object()) {
      for (const auto& [name, text] : value->items()) {
        if (text.is_string()) named.emplace(name, text.get<std::string>());
      }
    }
    const auto chosen = named.size() == 1 ? named.begin() : named.find("default");
    if (chosen != named.end()) {
      if (named.size() > 1) {
        out_.notes.push_back(fmt::format("of {} chat templates the one named default is kept", named.size()));
      }
      return chosen->second;
    }
    out_.notes.push_back(one_line(fmt::format(
        "{}: expected a text or several with one named default, found {}: left aside", place, json_text(*value))));
    return std::nullopt;
  }

  const TokenizerTexts& texts_;
  const std::unordered_map<std::string, int64_t>& ids_;
  HfTokenizer& out_;
};

// A mapped file and its text.
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

void read_token_settings(const TokenizerTexts& texts, const std::unordered_map<std::string, int64_t>& ids,
                         HfTokenizer& tokenizer) {
  SettingsReader(texts, ids, tokenizer).read();
}

HfTokenizer read_hf_tokenizer(const std::string& dir, int64_t vocab_size) {
  const fs::path folder(dir);
  const TextFile json(folder / "tokenizer.json", kMaxTokenizerBytes);
  const TextFile config(folder / "tokenizer_config.json", kMaxConfigBytes);
  const auto jinja = optional_text(folder / "chat_template.jinja", kMaxConfigBytes);
  const auto jinja_json = optional_text(folder / "chat_template.json", kMaxConfigBytes);
  const auto map = optional_text(folder / "special_tokens_map.json", kMaxConfigBytes);
  TokenizerTexts texts{dir, json.text(), config.text(), {}, {}, {}};
  if (jinja) texts.chat_template = jinja->text();
  if (jinja_json) texts.chat_template_json = jinja_json->text();
  if (map) texts.special_tokens_map = map->text();
  return parse_hf_tokenizer(texts, vocab_size);
}

void add_token_ids(const TokenIds& ids, HfTokenizer& t) {
  const auto add_end = [&](int64_t id) {
    if (t.types[size_t(id)] == int32_t(TokenType::unused)) {
      t.notes.push_back(fmt::format("eos_token_id {} is a row without a token: left aside", id));
    } else if (!t.eos) {
      t.eos = id;
    } else if (*t.eos != id && std::find(t.other_ends.begin(), t.other_ends.end(), id) == t.other_ends.end()) {
      t.other_ends.push_back(id);
    }
  };
  if (!t.bos) t.bos = ids.bos;
  if (!t.pad) t.pad = ids.pad;
  for (const int64_t id : ids.eos) add_end(id);
}

void add_tokenizer_metadata(const HfTokenizer& t, GgufMetadata& metadata) {
  metadata.set(key::kTokenizerModel, GgufValue::of_string("gpt2"));
  metadata.set(key::kTokenizerPre, GgufValue::of_string(t.pre));
  metadata.set(key::kTokens, GgufValue::of_strings(t.tokens));
  metadata.set(key::kTokenTypes, GgufValue::of_i32s(t.types));
  metadata.set(key::kMerges, GgufValue::of_strings(t.merges));
  const auto set_id = [&](const char* key, std::optional<int64_t> id) {
    if (id) metadata.set(key, GgufValue::of_u32(uint32_t(*id)));
  };
  set_id(key::kBosTokenId, t.bos);
  set_id(key::kEosTokenId, t.eos);
  set_id(key::kPaddingTokenId, t.pad);
  // llama.cpp-family programs have two keys for further end tokens, and stop at both.
  const char* const further[] = {key::kEotTokenId, key::kEomTokenId};
  for (size_t i = 0; i < std::min(t.other_ends.size(), std::size(further)); ++i) set_id(further[i], t.other_ends[i]);
  metadata.set(key::kAddBosToken, GgufValue::of_bool(t.add_bos && t.bos));
  metadata.set(key::kAddEosToken, GgufValue::of_bool(t.add_eos && t.eos));
  if (t.chat_template) metadata.set(key::kChatTemplate, GgufValue::of_string(*t.chat_template));
}

}  // namespace hearth
