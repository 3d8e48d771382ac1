// Split GGUF files: PREFIX-00001-of-00003.gguf and so on, numbered from 1. The first part has the metadata, and perhaps
// no tensor (llama-gguf-split --no-tensor-first-split); there may be a part for every tensor, which makes more than a
// thousand for DeepSeek-V3.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "quant/gguf.h"

namespace hearth {

// What a part says of itself: in its keys, and by its name.
struct SplitParts {
  uint64_t count = 1;  // 1: not split
  std::string prefix;  // "dir/PREFIX"

  std::string path(uint64_t i) const;  // of part i, from 0
};

// Throws Error(format): the metadata are those of a part, and `path` does not end as a part's name does.
SplitParts split_parts(const std::string& path, const GgufMetadata& metadata);

// Throws Error(file) that says how many parts do not lie there, and names the first of them.
void require_all_parts(const SplitParts& parts);

// Throws Error(format) where the keys of part i are not those of that part, or of another file than the first one's:
// other numbers, another number of tensors in all, another architecture.
void require_part(const SplitParts& parts, uint64_t i, const GgufMetadata& found, const GgufMetadata& first);

// A mapped file stays open, so that later changes of it are seen; a process may often have 1024 open. Raises this
// process's limit where the system lets it (RLIMIT_NOFILE). Throws Error(resource) where it does not.
void make_room_for_open_files(const SplitParts& parts);

}  // namespace hearth
