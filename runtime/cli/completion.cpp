#include "runtime/cli/completion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace hearth::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPath = "PATH";

std::string_view common_prefix(std::string_view a, std::string_view b) {
  return a.substr(0, size_t(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin()));
}

// A name that control characters or broken UTF-8 would make something else on the screen is not offered.
bool can_be_typed(std::string_view name) {
  return std::none_of(name.begin(), name.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7F'; });
}

// The names in the folder of `path` that go on as it does; folders with a slash.
std::vector<std::string> names_that_follow(std::string_view path) {
  const size_t slash = path.rfind('/');
  const std::string_view begun = path.substr(slash == std::string_view::npos ? 0 : slash + 1);
  std::string folder(path.substr(0, path.size() - begun.size()));
  if (folder.starts_with("~/")) {
    const char* const home = std::getenv("HOME");
    folder.replace(0, 1, home ? home : "");
  }
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder.empty() ? "." : folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (!name.starts_with(begun) || (begun.empty() && name.starts_with('.')) || !can_be_typed(name)) continue;
    std::error_code unknown;
    if (entry->is_directory(unknown)) name += '/';
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// `begun` is the part of the names that is there already.
Completion from_names(std::vector<std::string> names, std::string_view begun) {
  if (names.empty()) return {};
  std::string_view common = names.front();
  for (const std::string& name : names) common = common_prefix(common, name);
  // No half characters.
  while (!common.empty() && names.size() > 1 && (names.front()[common.size()] & 0xC0) == 0x80) common.remove_suffix(1);
  Completion completion;
  if (common.size() > begun.size()) completion.insert = common.substr(begun.size());
  if (names.size() > 1) completion.choices = std::move(names);
  return completion;
}

bool begins_path(std::string_view word) {
  return word.starts_with('/') || word.starts_with("./") || word.starts_with("../") || word.starts_with("~/");
}

}  // namespace

Completion complete(std::string_view before, const std::vector<std::string>& commands) {
  const auto path_completion = [](std::string_view path) {
    return from_names(names_that_follow(path), path.substr(path.rfind('/') + 1));
  };
  std::vector<std::string> names;
  for (std::string command : commands) {
    const bool takes_path = command.ends_with(kPath);
    if (takes_path) command.resize(command.size() - kPath.size());
    if (takes_path && before.starts_with(command)) {
      before.remove_prefix(std::min(before.find_first_not_of(' ', command.size()), before.size()));
      return path_completion(before);  // to the end of the line: blanks are part of a name
    }
    if (!before.starts_with('/') || !command.starts_with(before)) continue;
    if (const size_t blank = command.find(' ', before.size()); blank != std::string::npos) command.resize(blank + 1);
    if (std::ranges::find(names, command) == names.end()) names.push_back(std::move(command));
  }
  if (!names.empty()) return from_names(std::move(names), before);
  const std::string_view word = before.substr(before.find_last_of(" \t\n") + 1);
  return begins_path(word) ? path_completion(word) : Completion{};
}

std::string listed(const std::vector<std::string>& choices) {
  constexpr size_t kMost = 60, kWidth = 76;
  std::string text;
  size_t column = 0;
  for (size_t i = 0; i < std::min(choices.size(), kMost); ++i) {
    if (i > 0) {
      const bool full = column + 2 + choices[i].size() > kWidth;
      text += full ? "\n" : "  ";
      column = full ? 0 : column + 2;
    }
    text += choices[i];
    column += choices[i].size();
  }
  if (choices.size() > kMost) text += fmt::format("\n... and {} more", choices.size() - kMost);
  return text;
}

}  // namespace hearth::cli
