// The headers of safetensors files, without what they head: by requests for parts.
#pragma once

#include <string>
#include <vector>

#include "runtime/hub/fetch_loop.h"
#include "runtime/hub/remote_file.h"

namespace hearth::hub {

inline constexpr uint64_t kMostHeadBytes = 100'000'000;      // the limit of the safetensors library
inline constexpr uint64_t kMostBytesOfAllHeads = 256 << 20;  // those of V3 take about 14 MB

// Of each file its first bytes: eight that give the header's length, little-endian, and the header
// (https://huggingface.co/docs/safetensors). Throws Error(resource): the hub refuses or is not to be reached;
// Error(format): a header is longer than its file or than the limits, or the hub changes its mind.
std::vector<std::string> fetch_heads(FetchLoop& loop, const DownloadSource& source, const std::vector<HubFile>& files,
                                     uint64_t most_bytes = kMostBytesOfAllHeads);

}  // namespace hearth::hub
