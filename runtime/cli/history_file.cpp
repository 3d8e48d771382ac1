#include "runtime/cli/history_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>

#include "quant/partial_file.h"

namespace hearth::cli {
namespace {

constexpr std::string_view kLibeditHeader = "_HiStOrY_V2_";

// The file, while no other chat appends to it or replaces it by a shorter one. The lock is a file beside it, which
// stays.
class LockedFile {
 public:
  explicit LockedFile(const std::string& path) {
    std::error_code none;
    if (std::filesystem::exists(path, none) && !std::filesystem::is_regular_file(path, none)) return;
    lock_ = open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (lock_ >= 0 && flock(lock_, LOCK_EX) != 0 && errno == EINTR) continue;
    descriptor_ = open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
  }
  ~LockedFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (lock_ >= 0) close(lock_);
  }
  LockedFile(const LockedFile&) = delete;
  LockedFile& operator=(const LockedFile&) = delete;

  bool works() const { return descriptor_ >= 0; }
  bool write_all(std::string_view text) const {
    return write(descriptor_, text.data(), text.size()) == ssize_t(text.size());
  }
  bool ends_in_line() const {  // not so after a full disk
    const off_t size = lseek(descriptor_, 0, SEEK_END);
    char last = '\n';
    return size <= 0 || pread(descriptor_, &last, 1, size - 1) != 1 || last == '\n';
  }

 private:
  int lock_ = -1, descriptor_ = -1;
};

std::string escaped(std::string_view entry) {
  std::string line;
  for (const char c : entry) {
    if (c == '\n') {
      line += "\\n";
    } else if (c == '\r') {
      line += "\\r";
    } else if (c == '\\') {
      line += "\\\\";
    } else if (c != '\0') {
      line += c;
    }
  }
  return line + '\n';
}

std::string unescaped(std::string_view line) {
  std::string entry;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\' || i + 1 == line.size()) {
      entry += line[i];
      continue;
    }
    const char next = line[++i];
    entry += next == 'n' ? '\n' : next == 'r' ? '\r' : next;
  }
  return entry;
}

// libedit writes blanks and all but printable ASCII as a backslash and three octal digits.
std::string from_libedit(std::string_view line) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string entry;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 3 < line.size() && octal(line[i + 1]) && octal(line[i + 2]) && octal(line[i + 3])) {
      entry += char((line[i + 1] - '0') * 64 + (line[i + 2] - '0') * 8 + (line[i + 3] - '0'));
      i += 3;
    } else {
      if (line[i] == '\\' && i + 1 < line.size()) ++i;
      entry += line[i];
    }
  }
  while (!entry.empty() && (entry.back() == '\n' || entry.back() == '\r')) entry.pop_back();
  return entry;
}

struct Contents {
  std::vector<std::string> entries;
  bool as_written_now = true;  // neither by libedit nor with more entries than are kept
};

Contents parse(std::string_view text) {
  Contents contents;
  const bool libedit = text.starts_with(kLibeditHeader);
  contents.as_written_now = !libedit;
  if (libedit) text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    std::string entry = libedit ? from_libedit(line) : unescaped(line);
    if (!entry.empty() && entry.find('\0') == std::string::npos) contents.entries.push_back(std::move(entry));
  }
  size_t first = contents.entries.size(), bytes = 0;
  while (first > 0 && contents.entries.size() - first < HistoryFile::kEntries) {
    bytes += contents.entries[first - 1].size();
    if (bytes > HistoryFile::kBytes) break;
    --first;
  }
  if (first > 0) contents.as_written_now = false;
  contents.entries.erase(contents.entries.begin(), contents.entries.begin() + ptrdiff_t(first));
  return contents;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// By a new file that takes the old one's name: whoever is killed here leaves one of the two. The lock is held.
void replace(const std::string& path, const std::vector<std::string>& entries) {
  std::string text;
  for (const std::string& entry : entries) text += escaped(entry);
  PartialFile file = PartialFile::begin(path, 0600);
  if (file.is_open() && file.write(std::as_bytes(std::span(text))) && file.sync()) file.rename();
}

}  // namespace

HistoryFile::HistoryFile(std::string path) : path_(std::move(path)) {
  // A link to the file stays a link when the file is replaced.
  std::error_code none;
  const auto target = std::filesystem::canonical(path_, none);
  if (!path_.empty() && !none) path_ = target.string();
}

std::vector<std::string> HistoryFile::load() {
  std::error_code none;
  if (path_.empty() || !std::filesystem::is_regular_file(path_, none)) return {};
  Contents contents = parse(text_of(path_));
  if (contents.as_written_now) return std::move(contents.entries);
  const LockedFile lock(path_);
  if (!lock.works()) return std::move(contents.entries);
  contents = parse(text_of(path_));  // what others appended until now is not lost
  if (!contents.as_written_now) replace(path_, contents.entries);
  return std::move(contents.entries);
}

void HistoryFile::append(std::string_view entry) {
  if (path_.empty() || entry.empty()) return;
  const LockedFile file(path_);
  if (file.works()) file.write_all((file.ends_in_line() ? "" : "\n") + escaped(entry));
}

}  // namespace hearth::cli
