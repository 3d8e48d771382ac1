#include "runtime/text_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "quant/error.h"

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
  // Two programs that end at the same time do not write into one another's file.
  const std::string partial = fmt::format("{}.{}.partial", path, ::getpid());
  File out(std::fopen(partial.c_str(), "wb"));
  require(out != nullptr, ErrorKind::file, "{}: cannot create: {}", partial, std::strerror(errno));
  const bool written = std::fwrite(text.data(), 1, text.size(), out.get()) == text.size() &&
                       std::fflush(out.get()) == 0 && ::fsync(::fileno(out.get())) == 0;
  if (!written || std::rename(partial.c_str(), path.c_str()) != 0) {
    const int error = errno;
    std::remove(partial.c_str());
    fail(ErrorKind::file, "{}: cannot write: {}", path, std::strerror(error));
  }
}

}  // namespace hearth
