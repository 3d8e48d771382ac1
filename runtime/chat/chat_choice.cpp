// Which chat template a model gets.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "runtime/chat/chat_formats.h"
#include "runtime/chat/chat_template.h"
#include "runtime/support/text_file.h"

namespace hearth {

namespace {

bool knows_marks(const Tokenizer& tokenizer, const BuiltInFormat& format) {
  return std::all_of(format.marks.begin(), format.marks.end(),
                     [&](std::string_view mark) { return tokenizer.find(mark).has_value(); });
}

std::string joined_names() {
  std::string names;
  for (const BuiltInFormat& format : built_in_formats())
    names += (names.empty() ? "" : ", ") + std::string(format.name);
  return names;
}

std::string read_template(const std::string& path) {
  constexpr size_t kAtMost = size_t(4) << 20;
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  require(std::filesystem::exists(path), ErrorKind::usage, "--chat-template {}: no such file, and none of {}", path,
          joined_names());
  std::string text = read_text_file(path, kAtMost);
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  require(!text.empty(), ErrorKind::format, "{}: expected a chat template, found an empty file", path);
  return text;
}

// The built-in format that stands in for a published template of the family where functions are called. One that
// announces tools by itself was made for calls, and has its way.
ChatTemplate with_stand_in(ChatTemplate chat, const Tokenizer& tokenizer) {
  if (chat.call_format() == CallFormat::tagged || chat.announces_tools()) return chat;
  for (const BuiltInFormat& format : built_in_formats()) {
    if (!knows_marks(tokenizer, format)) continue;
    auto other = std::make_shared<const ChatTemplate>(format.jinja, std::string(format.name), tokenizer);
    if (other->call_format() != chat.call_format() || !chat.writes_turns_as(*other)) continue;
    chat.set_stand_in(std::move(other));
    break;
  }
  return chat;
}

}  // namespace

std::vector<std::string> chat_template_names() {
  std::vector<std::string> names;
  for (const BuiltInFormat& format : built_in_formats()) names.emplace_back(format.name);
  return names;
}

std::vector<std::string> fitting_chat_templates(const Tokenizer& tokenizer) {
  using enum BuiltInFormat::Vocabulary;
  // Both generations know <｜User｜>; only V3's has a token for padding.
  const auto deepseek = tokenizer.find("<｜▁pad▁｜>") ? deepseek_v3 : deepseek_v2;
  const bool is_deepseek = tokenizer.find("<｜end▁of▁sentence｜>").has_value();
  std::vector<std::string> names;
  for (const BuiltInFormat& format : built_in_formats()) {
    const bool kin = format.vocabulary == other || (is_deepseek && format.vocabulary == deepseek);
    if (kin && knows_marks(tokenizer, format)) names.emplace_back(format.name);
  }
  return names;
}

std::optional<ChatTemplate> choose_chat_template(const std::string& option, const GgufMetadata& metadata,
                                                 const Tokenizer& tokenizer) {
  if (option.empty()) {
    const auto own = metadata.string(key::kChatTemplate);
    if (!own || own->empty()) return std::nullopt;
    return with_stand_in(ChatTemplate(*own, metadata.source + ": chat template", tokenizer), tokenizer);
  }
  for (const BuiltInFormat& format : built_in_formats()) {
    if (option != format.name) continue;
    for (const std::string_view mark : format.marks)
      require(tokenizer.find(mark).has_value(), ErrorKind::usage, "--chat-template {}: {} has no token {}", option,
              metadata.source, mark);
    return ChatTemplate(format.jinja, option, tokenizer);
  }
  return with_stand_in(ChatTemplate(read_template(option), option, tokenizer), tokenizer);
}

}  // namespace hearth
