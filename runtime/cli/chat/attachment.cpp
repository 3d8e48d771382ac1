#include "runtime/cli/chat/attachment.h"

#include <fmt/format.h>

#include "quant/error.h"
#include "runtime/cli/chat/words.h"
#include "runtime/cli/files.h"
#include "runtime/support/text_file.h"

namespace hearth::cli {
namespace {

// Tokens have four bytes or so, and words of any language fewer than this; only blanks may have more.
constexpr int64_t kBytesPerToken = 32;

}  // namespace

std::string read_attachment(const std::string& path, int64_t n_ctx) {
  const size_t at_most = size_t(n_ctx * kBytesPerToken);
  std::string text;
  try {
    text = read_text_file(path, at_most);
  } catch (const Error& error) {
    if (error.kind != ErrorKind::format) throw;
    fail(ErrorKind::resource, "{}: too large for a context of {} tokens: expected at most {} bytes, found more", path,
         grouped(n_ctx), grouped(int64_t(at_most)));
  }
  const size_t zero = text.find('\0');
  require(zero == std::string::npos, ErrorKind::usage, "{}: expected text, found a binary file (a zero at offset {})",
          path, zero);
  require_utf8(text, path);
  text = plain_text(std::move(text));
  require(!text.empty(), ErrorKind::usage, "{}: expected text, found an empty file", path);
  return text;
}

std::string in_front_of_question(const std::vector<AttachedFile>& files) {
  std::string all;
  for (const AttachedFile& file : files)
    all += fmt::format("[file name]: {}\n[file content begin]\n{}\n[file content end]\n", file.name, file.text);
  return all;
}

}  // namespace hearth::cli
