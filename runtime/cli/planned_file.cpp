#include "runtime/cli/planned_file.h"

#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "runtime/chat_template.h"
#include "runtime/config.h"
#include "runtime/tokenizer.h"
#include "runtime/weights.h"

namespace hearth::cli {

namespace {

// Letters, digits, blanks, line ends, punctuation, and scripts that byte-level vocabularies write in several bytes.
constexpr std::string_view kSample =
    "Hello, world! 0123456789\n\n\t{\"caf\u00e9\": [\u4f60\u597d, \u041f\u0440\u0438\u0432\u0435\u0442, "
    "\U0001f642]}\r\n";

void require_round_trip(const Tokenizer& tokenizer, const std::string& path) {
  const std::string back = tokenizer.decode(tokenizer.encode(kSample, false), true);
  require(back == kSample, ErrorKind::model,
          "{}: the checkpoint's tokenizer does not give back a text that it took apart: expected \"{}\", found \"{}\"",
          path, kSample, back);
}

std::string chat_note(const GgufMetadata& metadata) {
  const auto text = metadata.string(key::kChatTemplate);
  if (!text) return "";
  try {
    recognise_chat_format(*text);
    return "";
  } catch (const Error& error) {
    return fmt::format("the file will not chat by its own template: {}", error.what());
  }
}

}  // namespace

std::vector<std::string> check_planned_file(const GgufFile& file) {
  try {
    weight_sizes(file, read_config(file));
    require_round_trip(Tokenizer(file.metadata()), file.path());
  } catch (const Error& error) {
    fail(error.kind, "nothing was written, as hearth would not open the file: {}", error.what());
  }
  std::vector<std::string> notes;
  if (std::string note = chat_note(file.metadata()); !note.empty()) notes.push_back(std::move(note));
  return notes;
}

}  // namespace hearth::cli
