#include "runtime/cli/files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>

#include "quant/error.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth::cli {
namespace {

struct Close {
  void operator()(std::FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};
using File = std::unique_ptr<std::FILE, Close>;

}  // namespace

std::string read_text(const std::string& path) {
  const std::string name = path == "-" ? "standard input" : path;
  File in(path == "-" ? stdin : std::fopen(path.c_str(), "rb"));
  require(in != nullptr, ErrorKind::file, "{}: {}", name, std::strerror(errno));
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, in.get())) text.append(buffer, n);
  require(!std::ferror(in.get()), ErrorKind::file, "{}: {}", name, std::strerror(errno));
  return text;
}

std::string plain_text(std::string text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  size_t from = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0, to = 0;
  for (; from < text.size(); ++from) {
    if (text[from] == '\r' && from + 1 < text.size() && text[from + 1] == '\n') continue;
    text[to++] = text[from];
  }
  text.resize(to);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

void require_utf8(const std::string& text, const std::string& where) {
  const std::string repaired = repair_utf8(text);
  if (repaired == text) return;
  size_t at = 0;
  while (at < text.size() && at < repaired.size() && text[at] == repaired[at]) ++at;
  fail(ErrorKind::usage, "{}: expected UTF-8, found a bad byte at offset {}", where, at);
}

}  // namespace hearth::cli
