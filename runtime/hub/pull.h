// A repository of a hub that speaks Hugging Face's API, fetched into its cache on this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/hub/download.h"
#include "runtime/hub/selection.h"

namespace hearth::hub {

struct PullOptions {
  std::string repository;         // "ORGANIZATION/NAME"
  std::string revision = "main";  // a branch, a tag, a commit
  std::vector<std::string> include, exclude;
  bool tensors_later = false;  // *.safetensors are listed (PullPlan::later) and not fetched
  std::string cache;           // the folder of all repositories
  FetchSettings fetch;
};

// $HF_ENDPOINT, or Hugging Face's own, without a slash at its end. Throws Error(usage): no address of http or https.
std::string hub_endpoint();

// What is to be done, before anything is written.
struct PullPlan {
  std::string commit;
  std::string snapshot;  // the folder with the files, when they are there
  Selection selection;
  std::vector<HubFile> missing;  // of the selected: not in the cache yet
  std::vector<HubFile> later;    // selected, and left to others to fetch; not in `selection`
  uint64_t bytes = 0, bytes_missing = 0;
};

// Asks the hub. `tick` as for FetchLoop. Throws Error(usage): a repository or revision that none is called, nothing
// selected, a token that would be sent without encryption; Error(resource): the hub refuses or is not to be reached, or
// the disk has no room; Error(format): its answers are not in order.
PullPlan plan_pull(const PullOptions& options, const Tick& tick, const Tell& tell);

// Does it: afterwards all files of the plan lie in its snapshot, and the revision is known to mean its commit. Throws
// what `download` throws.
void pull(const PullOptions& options, const PullPlan& plan,
          const std::function<void(const DownloadProgress&)>& progress, const Tell& tell);

}  // namespace hearth::hub
