#include "runtime/hub/selection.h"

#include <fnmatch.h>

#include <algorithm>
#include <functional>
#include <map>

#include "quant/error.h"

namespace hearth::hub {
namespace {

constexpr std::string_view kTensors = ".safetensors", kGguf = ".gguf";

bool is_top(const HubFile& file) {
  return file.path.find('/') == std::string::npos;
}

bool is_top_tensors(const HubFile& file) {
  return is_top(file) && file.path.ends_with(kTensors);
}

bool has(const std::vector<HubFile>& files, const std::function<bool(const HubFile&)>& what) {
  return std::any_of(files.begin(), files.end(), what);
}

bool matches_any(const std::vector<std::string>& patterns, const HubFile& file) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return matches(pattern, file.path); });
}

// What stands for itself in a pattern.
std::string literal(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '*' || c == '?' || c == '[')
      out += std::string("[") + c + "]";
    else
      out += c;
  }
  return out;
}

// "q4/model-00001-of-00003.gguf" begins a set whose files "q4/model-*-of-00003.gguf" means; any other name means
// itself.
std::string pattern_of_set(const std::string& path) {
  constexpr size_t kDigits = 5, kTail = 2 * kDigits + 5 + kGguf.size();  // -00001-of-00003.gguf
  if (path.size() <= kTail) return literal(path);
  const std::string tail = path.substr(path.size() - kTail);
  const auto digits = [&](size_t at) {
    return std::all_of(tail.begin() + long(at), tail.begin() + long(at + kDigits),
                       [](char c) { return c >= '0' && c <= '9'; });
  };
  const bool part = tail[0] == '-' && digits(1) && tail.substr(1 + kDigits, 4) == "-of-" && digits(kDigits + 5);
  return part ? literal(path.substr(0, path.size() - kTail)) + "-*" + tail.substr(1 + kDigits) : literal(path);
}

// Projectors of images and importance matrices are no models.
bool is_model(const HubFile& file) {
  const std::string name = file.path.substr(file.path.rfind('/') + 1);
  return name.ends_with(kGguf) && !name.starts_with("mmproj") && name.find("imatrix") == std::string::npos;
}

std::vector<Choice> models_in_gguf(const std::vector<HubFile>& files) {
  std::map<std::string, Choice> sets;
  for (const HubFile& file : files) {
    if (!is_model(file)) continue;
    Choice& choice = sets[pattern_of_set(file.path)];
    choice.bytes += file.size;
    ++choice.n_files;
  }
  std::vector<Choice> choices;
  for (auto& [pattern, choice] : sets) {
    choice.pattern = pattern;
    choices.push_back(choice);
  }
  std::stable_sort(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) { return a.bytes < b.bytes; });
  return choices;
}

// As `hearth convert` looks for them: those with the usual names, if there are any, and no adapters.
std::vector<HubFile> checkpoint_files(const std::vector<HubFile>& files) {
  const bool usual = has(files, [](const HubFile& f) { return is_top_tensors(f) && f.path.starts_with("model"); });
  std::vector<HubFile> chosen;
  for (const HubFile& file : files) {
    const bool tensors = is_top_tensors(file) && file.path.starts_with(usual ? "model" : "") &&
                         (usual || !file.path.starts_with("adapter_"));
    if (tensors || (is_top(file) && (file.path.ends_with(".json") || file.path.ends_with(".jinja"))))
      chosen.push_back(file);
  }
  return chosen;
}

}  // namespace

bool matches(std::string_view pattern, const std::string& path) {
  std::string whole(pattern);
  if (whole.ends_with('/')) whole += '*';
  return fnmatch(whole.c_str(), path.c_str(), FNM_NOESCAPE) == 0;
}

Selection select_files(const std::vector<HubFile>& files, const std::vector<std::string>& include,
                       const std::vector<std::string>& exclude, const std::string& repository) {
  std::vector<HubFile> allowed;
  for (const HubFile& file : files)
    if (!matches_any(exclude, file)) allowed.push_back(file);

  Selection selection;
  if (!include.empty()) {
    for (const HubFile& file : allowed)
      if (matches_any(include, file)) selection.files.push_back(file);
    require(!selection.files.empty(), ErrorKind::usage, "{}: none of its {} files is meant by --include and --exclude",
            repository, files.size());
  } else {
    const std::vector<Choice> models = models_in_gguf(allowed);
    const bool tensors = has(allowed, is_top_tensors);
    if (tensors) selection.files = checkpoint_files(allowed);
    if (models.size() + (tensors ? 1 : 0) > 1) {
      selection.choices = models;
      if (tensors) {
        Choice checkpoint{"*.safetensors' --include '*.json' --include '*.jinja", 0, selection.files.size()};
        for (const HubFile& file : selection.files) checkpoint.bytes += file.size;
        selection.choices.push_back(checkpoint);
      }
      selection.files.clear();
      return selection;
    }
    for (const HubFile& file : allowed)
      if (models.size() == 1 && matches(models[0].pattern, file.path)) selection.files.push_back(file);
    const bool pytorch =
        has(files, [](const HubFile& f) { return f.path.ends_with(".bin") || f.path.ends_with(".pth"); });
    require(!selection.files.empty(), ErrorKind::usage,
            "{}: expected *.safetensors or *.gguf, found neither among its {} files{}; --include names others",
            repository, files.size(), pytorch ? ", only PyTorch's .bin, which is not read here" : "");
  }
  for (const HubFile& file : selection.files) {
    if (is_model(file) && (selection.first_gguf.empty() || file.path < selection.first_gguf))
      selection.first_gguf = file.path;
  }
  const bool whole_checkpoint = has(selection.files, is_top_tensors) &&
                                has(selection.files, [](const HubFile& f) { return f.path == "config.json"; });
  if (!selection.first_gguf.empty())
    selection.content = Content::gguf;
  else if (whole_checkpoint)
    selection.content = Content::checkpoint;
  return selection;
}

}  // namespace hearth::hub
