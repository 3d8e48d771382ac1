#include "runtime/cli/planned_file.h"

#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "runtime/chat/chat_template.h"
#include "runtime/model/config.h"
#include "runtime/model/read_config.h"
#include "runtime/model/weights.h"
#include "runtime/tokenizer/tokenizer.h"

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

// Empty: it has none, or one that is understood.
std::string chat_note(const GgufMetadata& metadata, const Tokenizer& tokenizer) {
  try {
    choose_chat_template("", metadata, tokenizer);
    return "";
  } catch (const Error& error) {
    return fmt::format("the file will not chat by its own template: {}", error.what());
  }
}

}  // namespace

std::vector<std::string> check_planned_file(const GgufFile& file) {
  try {
    weight_sizes(file, read_config(file));
    const Tokenizer tokenizer(file.metadata());
    require_round_trip(tokenizer, file.path());
    const std::string note = chat_note(file.metadata(), tokenizer);
    return note.empty() ? std::vector<std::string>{} : std::vector<std::string>{note};
  } catch (const Error& error) {
    fail(error.kind, "nothing was written, as hearth would not open the file: {}", error.what());
  }
}

}  // namespace hearth::cli
