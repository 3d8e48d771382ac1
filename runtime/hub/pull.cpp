#include "runtime/hub/pull.h"

#include <algorithm>
#include <cstdlib>

#include "quant/error.h"
#include "runtime/hub/url.h"
#include "runtime/support/size_text.h"

namespace hearth::hub {
namespace {

std::vector<HubFile> list_files(FetchLoop& loop, const std::string& api, const std::string& commit,
                                const std::string& place) {
  constexpr size_t kMostPages = 1000;
  std::vector<HubFile> files;
  std::string url = api + "/tree/" + commit + "?recursive=true";
  for (size_t i = 0; !url.empty(); ++i) {
    require(i < kMostPages, ErrorKind::format, "{}: expected at most {} pages, found more", place, kMostPages);
    const HubText page = fetch_text(loop, place, url, kMostAnswerBytes);
    const std::vector<HubFile> more = parse_tree(page.text, place);
    files.insert(files.end(), more.begin(), more.end());
    require(files.size() <= kMostFiles, ErrorKind::format, "{}: expected at most {} files, found more", place,
            kMostFiles);
    url = page.next_page;
  }
  check_names(files, place);
  return files;
}

// What is fetched anew needs room; what an earlier process has begun has it already.
void require_room(const RepositoryCache& cache, const std::vector<HubFile>& missing) {
  uint64_t needed = 0;
  for (const HubFile& file : missing) needed += file.size - std::min(file.size, cache.set_aside(file));
  const uint64_t free = free_bytes(cache.folder());
  require(needed <= free, ErrorKind::resource, "{}: expected room for {}, found {}: HF_HUB_CACHE names another folder",
          cache.folder(), decimal_size_text(double(needed)), decimal_size_text(double(free)));
}

}  // namespace

std::string hub_endpoint() {
  const char* const named = std::getenv("HF_ENDPOINT");
  if (!named || !*named) return "https://huggingface.co";
  std::string endpoint = named;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  try {
    origin_of(endpoint);
    require(endpoint.find_first_of("?#") == std::string::npos, ErrorKind::format, "");
  } catch (const Error&) {
    fail(ErrorKind::usage, "HF_ENDPOINT: expected the address of a hub, as https://huggingface.co, found another text");
  }
  return endpoint;
}

PullPlan plan_pull(const PullOptions& options, const Tick& tick, const Tell& tell) {
  check_repository(options.repository);
  check_revision(options.revision);
  const std::string& endpoint = options.fetch.endpoint;
  const bool private_way = endpoint.starts_with("https:") || is_loopback(endpoint);
  require(options.fetch.token.empty() || private_way, ErrorKind::usage,
          "HF_ENDPOINT: {} would be sent the token without encryption: expected an address of https",
          host_of(endpoint));

  const std::string api = endpoint + "/api/models/" + options.repository;
  const std::string place = options.repository + " at " + options.revision;
  FetchLoop loop(options.fetch, tick, tell);
  const HubText revision =
      fetch_text(loop, place, api + "/revision/" + percent_encoded(options.revision, false), kMostAnswerBytes);
  PullPlan plan;
  plan.commit = parse_commit(revision.text, place);
  const bool is_commit = is_hex(options.revision, plan.commit.size());
  require(!is_commit || options.revision == plan.commit, ErrorKind::format, "{}: expected this commit, found {}", place,
          plan.commit);
  plan.selection =
      select_files(list_files(loop, api, plan.commit, place), options.include, options.exclude, options.repository);

  if (options.tensors_later) {
    const auto is_now = [](const HubFile& file) { return !file.path.ends_with(".safetensors"); };
    const auto later = std::stable_partition(plan.selection.files.begin(), plan.selection.files.end(), is_now);
    plan.later.assign(later, plan.selection.files.end());
    plan.selection.files.erase(later, plan.selection.files.end());
  }

  const RepositoryCache cache(options.cache, options.repository);
  plan.snapshot = cache.snapshot(plan.commit);
  for (const HubFile& file : plan.selection.files) {
    plan.bytes += file.size;
    if (cache.has(file)) continue;
    plan.missing.push_back(file);
    plan.bytes_missing += file.size;
  }
  require_room(cache, plan.missing);
  return plan;
}

void pull(const PullOptions& options, const PullPlan& plan,
          const std::function<void(const DownloadProgress&)>& progress, const Tell& tell) {
  const RepositoryCache cache(options.cache, options.repository);
  if (!plan.missing.empty()) {
    const DownloadSource source{options.fetch.endpoint, options.repository, plan.commit};
    download(options.fetch, source, plan.missing, cache, progress, tell);
  }
  for (const HubFile& file : plan.selection.files) cache.link(plan.commit, file);  // also of what was there
  cache.write_ref(options.revision, plan.commit);
}

}  // namespace hearth::hub
