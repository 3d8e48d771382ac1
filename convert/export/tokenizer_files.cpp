#include "convert/export/tokenizer_files.h"

#include "convert/export/tokenizer_vocabulary.h"
#include "convert/json_file.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr const char* kTemplatePrefix = "tokenizer.chat_template.";  // and a name

std::string quoted(const std::string& text, const std::string& source) {
  try {
    return OrderedJson(text).dump();
  } catch (const OrderedJson::exception&) {
    fail(ErrorKind::format, "{}: token '{}': expected UTF-8", source, one_line(text));
  }
}

// Line ends as themselves, as published files have them.
std::string published_pattern(std::string pattern) {
  for (const auto& [escaped, line_end] : {std::pair("\\r", '\r'), std::pair("\\n", '\n')}) {
    for (size_t at; (at = pattern.find(escaped)) != std::string::npos;) pattern.replace(at, 2, 1, line_end);
  }
  return pattern;
}

OrderedJson byte_level(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

OrderedJson pre_tokenizer(const PreTokenizerPatterns& pre) {
  OrderedJson steps = OrderedJson::array();
  for (const std::string& pattern : pre.patterns) {
    if (pattern == kOneDigit) {
      steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
    } else {
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", published_pattern(pattern)}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    }
  }
  steps.push_back(byte_level(false, true, false));
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

// BOS in front of each text, EOS behind it.
OrderedJson post_processor(const ExportedVocabulary& v) {
  const OrderedJson plain = byte_level(true, false, true);
  if (!v.add_bos && !v.add_eos) return plain;
  OrderedJson single = OrderedJson::array(), pair = OrderedJson::array(), special = OrderedJson::object();
  const auto add_special = [&](int64_t id, int sequence) {
    const std::string& text = v.text(id);
    const OrderedJson piece = {{"SpecialToken", {{"id", text}, {"type_id", sequence}}}};
    if (sequence == 0) single.push_back(piece);
    pair.push_back(piece);
    special[text] = {{"id", text}, {"ids", OrderedJson::array({id})}, {"tokens", OrderedJson::array({text})}};
  };
  for (const int sequence : {0, 1}) {
    const OrderedJson piece = {{"Sequence", {{"id", sequence == 0 ? "A" : "B"}, {"type_id", sequence}}}};
    if (v.add_bos) add_special(*v.bos, sequence);
    if (sequence == 0) single.push_back(piece);
    pair.push_back(piece);
    if (v.add_eos) add_special(*v.eos, sequence);
  }
  const OrderedJson around = {
      {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
  return {{"type", "Sequence"}, {"processors", OrderedJson::array({plain, around})}};
}

OrderedJson added_tokens(const ExportedVocabulary& v) {
  OrderedJson list = OrderedJson::array();
  for (const auto& token : v.added) {
    list.push_back({{"id", token.id},
                    {"content", v.text(token.id)},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", token.special}});
  }
  return list;
}

// A line for each token and merge. An ordered JSON object of the library would take minutes for a vocabulary.
void append_model(const ExportedVocabulary& v, const std::string& source, std::string& out) {
  out +=
      "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
      "    \"byte_fallback\": false,\n    \"vocab\": {";
  const char* between = "\n";
  for (const int64_t id : v.in_model) {
    out += fmt::format("{}      {}: {}", between, quoted(v.text(id), source), id);
    between = ",\n";
  }
  out += "\n    },\n    \"merges\": [";
  between = "\n";
  for (const std::string& merge : *v.merges) {
    out += fmt::format("{}      {}", between, quoted(merge, source));
    between = ",\n";
  }
  out += "\n    ]\n  }\n";
}

// "text", or a list of {name, template} in which the file's own is named default.
OrderedJson chat_template(const GgufMetadata& metadata) {
  OrderedJson named = OrderedJson::array();
  const auto own = metadata.string(key::kChatTemplate);
  if (own) named.push_back({{"name", "default"}, {"template", *own}});
  for (const auto& [key, value] : metadata.entries()) {
    if (!key.starts_with(kTemplatePrefix)) continue;
    const std::string name = key.substr(std::string_view(kTemplatePrefix).size());
    named.push_back({{"name", name}, {"template", metadata.string(key).value_or("")}});
  }
  return named.size() == 1 && own ? OrderedJson(*own) : named;
}

std::string dumped(const OrderedJson& json, const std::string& source) {
  try {
    return json.dump(2);
  } catch (const OrderedJson::exception&) {
    fail(ErrorKind::format, "{}: tokens or chat template: expected UTF-8", source);
  }
}

}  // namespace

std::string tokenizer_json(const GgufMetadata& metadata) {
  const ExportedVocabulary v = exported_vocabulary(metadata);
  OrderedJson head = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  head["added_tokens"] = added_tokens(v);
  head["normalizer"] = {{"type", "Sequence"}, {"normalizers", OrderedJson::array()}};
  head["pre_tokenizer"] = pre_tokenizer(*v.pre);
  head["post_processor"] = post_processor(v);
  head["decoder"] = byte_level(true, true, true);
  std::string out = dumped(head, metadata.source);
  out.erase(out.rfind("\n}"));
  out += ",\n";
  append_model(v, metadata.source, out);
  return out + "}\n";
}

std::string tokenizer_config_json(const GgufMetadata& metadata) {
  const ExportedVocabulary v = exported_vocabulary(metadata);
  OrderedJson json = {{"add_bos_token", v.add_bos}, {"add_eos_token", v.add_eos}};
  const auto name = [&](const char* key, std::optional<int64_t> id) {
    json[key] = id ? OrderedJson(v.text(*id)) : OrderedJson(nullptr);
  };
  name("bos_token", v.bos);
  name("eos_token", v.eos);
  name("pad_token", v.pad);
  json["clean_up_tokenization_spaces"] = false;
  if (const auto context = metadata.unsigned_integer(key::kContextLength)) json["model_max_length"] = *context;
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (const OrderedJson chat = chat_template(metadata); !chat.empty()) json["chat_template"] = chat;
  return dumped(json, metadata.source) + "\n";
}

}  // namespace hearth
