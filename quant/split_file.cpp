#include "quant/split_file.h"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "quant/gguf_keys.h"

namespace hearth {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kFewOpen = 64;     // of the program's other files
constexpr uint64_t kManyOpen = 1024;  // and of the connections of a server

// "dir/PREFIX-00002-of-00003.gguf" -> "dir/PREFIX"; nothing where the name is not of that form for `count` parts.
std::optional<std::string> split_prefix(const std::string& path, uint64_t count) {
  const std::string tail = fmt::format("-of-{:05}.gguf", count);
  constexpr size_t number = 6;  // "-00002"
  if (!path.ends_with(tail) || path.size() < tail.size() + number) return std::nullopt;
  const std::string middle = path.substr(path.size() - tail.size() - number, number);
  const bool digits = std::all_of(middle.begin() + 1, middle.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (middle[0] != '-' || !digits) return std::nullopt;
  return path.substr(0, path.size() - tail.size() - number);
}

}  // namespace

std::string SplitParts::path(uint64_t i) const {
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, i + 1, count);
}

SplitParts split_parts(const std::string& path, const GgufMetadata& metadata) {
  SplitParts parts;
  parts.count = std::max<uint64_t>(1, metadata.unsigned_integer(key::kSplitCount).value_or(1));
  if (parts.count == 1) return parts;
  const std::optional<std::string> prefix = split_prefix(path, parts.count);
  require(prefix.has_value(), ErrorKind::format,
          "{}: is one of {} parts, expected a name ending in -NNNNN-of-{:05}.gguf", path, parts.count, parts.count);
  parts.prefix = *prefix;
  return parts;
}

void require_all_parts(const SplitParts& parts) {
  constexpr size_t kNamed = 3;
  std::vector<std::string> named;
  uint64_t missing = 0;
  for (uint64_t i = 0; i < parts.count; ++i) {
    std::error_code ignored;
    if (fs::exists(parts.path(i), ignored)) continue;
    if (++missing <= kNamed) named.push_back(fs::path(parts.path(i)).filename());
  }
  if (missing == 0) return;
  std::string names = fmt::format("{}", fmt::join(named, ", "));
  if (missing > kNamed) names += fmt::format(" and {} more", missing - kNamed);
  fail(ErrorKind::file, "{}: expected all {} parts beside each other, {} missing: {}", parts.path(0), parts.count,
       missing == 1 ? "one is" : fmt::format("{} are", missing), names);
}

void require_part(const SplitParts& parts, uint64_t i, const GgufMetadata& found, const GgufMetadata& first) {
  const std::string path = parts.path(i);
  const uint64_t count = found.unsigned_integer(key::kSplitCount).value_or(1);
  const auto number = found.unsigned_integer(key::kSplitNo);
  require(count == parts.count && number == i, ErrorKind::format,
          "{}: expected part {} of {} by its name, its keys say part {} of {}", path, i + 1, parts.count,
          number ? std::to_string(*number + 1) : "?", count);
  for (const char* key : {key::kSplitTensorsCount, key::kArchitecture}) {
    const GgufValue *here = found.find(key), *there = first.find(key);
    if (!here || !there || here->text() == there->text()) continue;
    fail(ErrorKind::format, "{}: is a part of another file: {}: expected {} as in the first part, found {}", path, key,
         there->text(), here->text());
  }
}

void make_room_for_open_files(const SplitParts& parts) {
  const uint64_t least = parts.count + kFewOpen;
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= parts.count + kManyOpen) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, parts.count + kManyOpen);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  require(limit.rlim_cur >= least, ErrorKind::resource,
          "{}: {} parts stay open: expected a process to be allowed {} open files, found {} (ulimit -n)", parts.path(0),
          parts.count, least, limit.rlim_cur);
}

}  // namespace hearth
