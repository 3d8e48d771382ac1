#include "runtime/hub/listing.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "quant/error.h"
#include "runtime/hub/one_line.h"

namespace hearth::hub {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kLargestFile = uint64_t(1) << 46;  // 70 TB

Json parse(std::string_view text, const std::string& place) {
  constexpr int kDepth = 32;
  require(text.size() <= kMostAnswerBytes, ErrorKind::format, "{}: expected at most {} bytes, found {}", place,
          kMostAnswerBytes, text.size());
  const Json::parser_callback_t shallow = [&](int depth, Json::parse_event_t, Json&) {
    require(depth <= kDepth, ErrorKind::format, "{}: nested deeper than {} levels", place, kDepth);
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), shallow);
  } catch (const Json::exception& error) {
    fail(ErrorKind::format, "{}: no JSON: {}", place, one_line(error.what()));
  }
}

std::string shown(const Json* value) {
  return value ? one_line(value->dump(-1, ' ', false, Json::error_handler_t::replace), 80) : "nothing";
}

const Json* member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

std::string text_of(const Json& object, const char* name, const std::string& place) {
  const Json* value = member(object, name);
  require(value && value->is_string(), ErrorKind::format, "{}: {}: expected a string, found {}", place, name,
          shown(value));
  return value->get<std::string>();
}

uint64_t size_of(const Json& object, const std::string& place) {
  const Json* value = member(object, "size");
  const bool good = value && value->is_number_unsigned() && value->get<uint64_t>() <= kLargestFile;
  require(good, ErrorKind::format, "{}: size: expected 0 to {} bytes, found {}", place, kLargestFile, shown(value));
  return value->get<uint64_t>();
}

std::string hex_of(const Json& object, const char* name, size_t digits, const std::string& place) {
  const std::string text = text_of(object, name, place);
  require(is_hex(text, digits), ErrorKind::format, "{}: {}: expected {} hexadecimal digits, found {}", place, name,
          digits, one_line(text, 80));
  return text;
}

// "": the path is harmless below any folder.
std::string fault_of_path(std::string_view path) {
  constexpr size_t kLongestPath = 1000, kLongestName = 200;  // of what file systems take, with room for our own endings
  if (path.empty() || path.size() > kLongestPath) return "is no path";
  if (path.front() == '/') return "is absolute";
  const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; };
  if (std::any_of(path.begin(), path.end(), control)) return "has control characters";
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view name = path.substr(at, end - at);
    if (name == "." || name == "..") return "leads out of its folder";
    if (name.empty() || name.size() > kLongestName) return "is no path";
    at = end + 1;
  }
  return "";
}

bool is_name(std::string_view text) {
  constexpr size_t kLongest = 96;
  const auto allowed = [](unsigned char c) {
    return (c < 0x80 && std::isalnum(c)) || c == '-' || c == '_' || c == '.';
  };
  const auto edge = [](char c) { return c == '-' || c == '.'; };
  return !text.empty() && text.size() <= kLongest && std::all_of(text.begin(), text.end(), allowed) &&
         !edge(text.front()) && !edge(text.back()) && text.find("--") == std::string_view::npos &&
         text.find("..") == std::string_view::npos;
}

}  // namespace

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void check_repository(std::string_view name) {
  const size_t slash = name.find('/');
  const bool good = slash == std::string_view::npos ? is_name(name)
                                                    : is_name(name.substr(0, slash)) && is_name(name.substr(slash + 1));
  require(good, ErrorKind::usage, "{}: expected the name of a repository, as deepseek-ai/DeepSeek-V2-Lite-Chat",
          one_line(name, 200));
}

void check_revision(std::string_view name) {
  const std::string fault = fault_of_path(name);
  require(fault.empty(), ErrorKind::usage, "--revision: expected a branch, a tag or a commit, found {}",
          name.empty() ? "nothing" : one_line(name, 200));
}

std::string parse_commit(std::string_view text, const std::string& place) {
  const Json json = parse(text, place);
  require(json.is_object(), ErrorKind::format, "{}: expected an object, found {}", place, shown(&json));
  return hex_of(json, "sha", 40, place);
}

std::vector<HubFile> parse_tree(std::string_view text, const std::string& place) {
  const Json json = parse(text, place);
  require(json.is_array(), ErrorKind::format, "{}: expected a list, found {}", place, shown(&json));
  std::vector<HubFile> files;
  for (const Json& entry : json) {
    require(entry.is_object(), ErrorKind::format, "{}: expected files, found {}", place, shown(&entry));
    const std::string path = text_of(entry, "path", place), fault = fault_of_path(path);
    require(fault.empty(), ErrorKind::format, "{}: the name \"{}\" {}", place, one_line(path, 200), fault);
    const std::string at = place + ": " + path;
    const std::string type = text_of(entry, "type", at);
    require(type == "file" || type == "directory", ErrorKind::format, "{}: expected a file or a directory, found {}",
            at, one_line(type, 80));
    if (type == "directory") continue;
    HubFile file{path, size_of(entry, at), hex_of(entry, "oid", 40, at)};
    // Of a large file the oid is that of a pointer in git; what the file itself is stands apart.
    if (const Json* lfs = member(entry, "lfs"); lfs && !lfs->is_null()) {
      require(lfs->is_object(), ErrorKind::format, "{}: lfs: expected an object, found {}", at, shown(lfs));
      file.oid = hex_of(*lfs, "oid", 64, at);
      const uint64_t size = size_of(*lfs, at);
      require(size == file.size, ErrorKind::format, "{}: expected one size, found {} and {}", at, file.size, size);
    }
    files.push_back(std::move(file));
  }
  return files;
}

void check_names(const std::vector<HubFile>& files, const std::string& place) {
  require(files.size() <= kMostFiles, ErrorKind::format, "{}: expected at most {} files, found more", place,
          kMostFiles);
  std::set<std::string_view> names;
  for (const HubFile& file : files) {
    const bool is_new = names.insert(file.path).second;
    require(is_new, ErrorKind::format, "{}: {} comes twice", place, file.path);
  }
  for (const HubFile& file : files) {
    for (size_t slash = file.path.find('/'); slash != std::string::npos; slash = file.path.find('/', slash + 1)) {
      const std::string_view folder = std::string_view(file.path).substr(0, slash);
      require(!names.contains(folder), ErrorKind::format, "{}: {} is a file and a folder", place, folder);
    }
  }
}

}  // namespace hearth::hub
