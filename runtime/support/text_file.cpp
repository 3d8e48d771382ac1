#include "runtime/support/text_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "quant/error.h"
#include "quant/output_file.h"

namespace hearth {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

}  // namespace

std::string read_text_file(const std::string& path, size_t at_most) {
  const File in(std::fopen(path.c_str(), "rb"));
  require(in != nullptr, ErrorKind::file, "{}: {}", path, std::strerror(errno));
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, in.get())) {
    text.append(buffer, n);
    require(text.size() <= at_most, ErrorKind::format, "{}: expected at most {} bytes, found more", path, at_most);
  }
  require(!std::ferror(in.get()), ErrorKind::file, "{}: {}", path, std::strerror(errno));
  return text;
}

void write_text_file(const std::string& path, std::string_view text) {
  OutputFile file(path);
  file.write(text);
  file.finish();
}

}  // namespace hearth
