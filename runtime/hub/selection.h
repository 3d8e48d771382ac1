// Which files of a repository are fetched.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/hub/listing.h"

namespace hearth::hub {

// Python's fnmatch, as huggingface_hub's include and exclude: * is any text, slashes too, ? one character, [ab] and
// [!ab] some; a pattern that ends with a slash means all in that folder. The case of letters counts.
bool matches(std::string_view pattern, const std::string& path);

// One model among several in a repository.
struct Choice {
  std::string pattern;  // to be given to --include: of exactly its files
  uint64_t bytes = 0;
  size_t n_files = 0;
};

enum class Content { checkpoint, gguf, other };

struct Selection {
  std::vector<HubFile> files;
  Content content = Content::other;
  std::string first_gguf;       // the file to open, of GGUF; its parts stand beside it
  std::vector<Choice> choices;  // where it is not empty, nothing is selected: there are several models
};

// Without `include`: of a checkpoint the tensors and what `hearth convert` reads beside them, all in the uppermost
// folder; the GGUF file where there is one. Without those of `exclude`. Throws Error(usage): nothing is left.
Selection select_files(const std::vector<HubFile>& files, const std::vector<std::string>& include,
                       const std::vector<std::string>& exclude, const std::string& repository);

}  // namespace hearth::hub
