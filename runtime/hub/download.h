// Fetches files of one commit into the cache: in pieces, over several connections, going on where an earlier process
// stopped, checked before they get their names.
#pragma once

#include <functional>
#include <vector>

#include "runtime/hub/cache.h"
#include "runtime/hub/download_queue.h"
#include "runtime/hub/fetch_loop.h"

namespace hearth::hub {

// The blobs of all `files`, none of which the cache has; what is checked is linked at once, but for further names of
// one content. Throws Error(resource): the hub refuses or is not to be reached; Error(format): what it sends is not
// what it said; Error(file): the disk; and what `progress` throws. What has come stays for the next time, except a file
// whose checksum is wrong.
void download(const FetchSettings& settings, const DownloadSource& source, const std::vector<HubFile>& files,
              const RepositoryCache& cache, const std::function<void(const DownloadProgress&)>& progress,
              const Tell& tell);

}  // namespace hearth::hub
