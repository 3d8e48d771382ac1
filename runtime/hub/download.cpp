#include "runtime/hub/download.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace hearth::hub {
namespace {

// Small ones first: what is wrong with them is known soon.
std::vector<const HubFile*> in_order(const std::vector<HubFile>& files) {
  constexpr uint64_t kSmall = 16 << 20;
  std::vector<const HubFile*> order;
  for (const HubFile& file : files) order.push_back(&file);
  std::stable_partition(order.begin(), order.end(), [](const HubFile* file) { return file->size <= kSmall; });
  return order;
}

}  // namespace

void download(const FetchSettings& settings, const DownloadSource& source, const std::vector<HubFile>& files,
              const RepositoryCache& cache, const std::function<void(const DownloadProgress&)>& progress,
              const Tell& tell) {
  cache.make_folders();
  DownloadQueue queue(source, in_order(files), cache, [&](const HubFile& file) { cache.link(source.commit, file); });
  const auto tick = [&] {
    queue.checker().rethrow();
    DownloadProgress now = queue.progress();
    now.to_check = queue.checker().bytes_waiting();
    progress(now);
  };
  FetchLoop loop(settings, tick, tell);
  loop.run([&] { return queue.next(); });
  queue.hand_over();
  queue.progress().file.clear();
  while (!queue.checker().idle()) {
    tick();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  queue.checker().rethrow();
}

}  // namespace hearth::hub
