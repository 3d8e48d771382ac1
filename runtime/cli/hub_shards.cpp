#include "runtime/cli/hub_shards.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "quant/error.h"
#include "quant/output_file.h"
#include "runtime/hub/cache.h"
#include "runtime/hub/heads.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {

namespace fs = std::filesystem;

namespace {

constexpr size_t kAhead =
    2;  // shards that are fetched while others are needed, unless it is said how many may lie there

std::string size_of(uint64_t bytes) {
  return decimal_size_text(double(bytes));
}

}  // namespace

HubShards::HubShards(const hub::PullOptions& options, const hub::PullPlan& plan, size_t keep, bool only_plan,
                     hub::Tick tick, hub::Tell tell)
    : options_(options),
      plan_(plan),
      keep_(keep),
      only_plan_(only_plan),
      tick_(std::move(tick)),
      tell_(std::move(tell)),
      source_{options.fetch.endpoint, options.repository, plan.commit} {
  for (const hub::HubFile& file : plan.later) {
    if (file.path.find('/') == std::string::npos) files_[file.path] = &file;
  }
}

std::set<std::string> HubShards::names() const {
  std::set<std::string> names;
  for (const auto& file : files_) names.insert(file.first);
  return names;
}

const hub::HubFile& HubShards::file_named(const std::string& name) const {
  const auto found = files_.find(name);
  require(found != files_.end(), ErrorKind::file, "{}: {} has no such file", name, options_.repository);
  return *found->second;
}

std::vector<Shard> HubShards::look_at(const std::vector<std::string>& names) {
  const hub::RepositoryCache cache(options_.cache, options_.repository);
  std::vector<Shard> shards;
  std::vector<hub::HubFile> to_come;
  for (const std::string& name : names) {
    const hub::HubFile& file = file_named(name);
    shards.push_back({name, file.size, file.oid, "", ""});
    if (cache.has(file)) {
      cache.link(plan_.commit, file);
      shards.back().path = plan_.snapshot + "/" + name;
    } else {
      to_come.push_back(file);
    }
  }
  hub::FetchLoop loop(options_.fetch, tick_, tell_);
  std::vector<std::string> heads = hub::fetch_heads(loop, source_, to_come);
  auto head = heads.begin();
  for (Shard& shard : shards) {
    if (shard.path.empty()) shard.head = std::move(*head++);
  }
  return shards;
}

// The largest ones.
uint64_t HubShards::most_bytes(const std::vector<std::string>& names) const {
  std::vector<uint64_t> sizes;
  for (const std::string& name : names) sizes.push_back(file_named(name).size);
  std::ranges::sort(sizes, std::greater());
  uint64_t bytes = 0;
  for (size_t i = 0; i < std::min(keep_, sizes.size()); ++i) bytes += sizes[i];
  return bytes;
}

// What an earlier run has left of shards stays and needs no new room, or goes and makes some.
uint64_t HubShards::free_for_shards() const {
  constexpr uint64_t kBlock = 512;  // the unit of st_blocks
  uint64_t bytes = free_bytes();
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    struct stat info {};
    if (lstat(it->path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) bytes += uint64_t(info.st_blocks) * kBlock;
  }
  return bytes;
}

uint64_t HubShards::free_bytes() const {
  return hub::free_bytes(fs::absolute(folder_).parent_path().string());
}

void HubShards::planned(const ShardPlan& plan) {
  planned_ = plan;
  const std::string target = link_target(plan.output);
  folder_ = target + ".partial.shards";
  require(keep_ == 0 || keep_ >= plan.least, ErrorKind::usage,
          "--keep-shards: expected at least {}: so many of the {} shards are needed at once, found {}", plan.least,
          plan.order.size(), keep_);
  if (keep_ == 0) keep_ = plan.least + kAhead;
  keep_ = std::min(keep_, plan.order.size());
  std::error_code error;
  if (only_plan_ || fs::exists(target + ".partial", error)) return;  // has room already; `begin` looks at the shards'
  const uint64_t shards = most_bytes(plan.order), free = free_for_shards();
  require(plan.file_bytes + shards <= free, ErrorKind::resource,
          "{}: expected room for {}, and for {} of {} shards at a time, found {}", plan.output,
          size_of(plan.file_bytes), size_of(shards), keep_, size_of(free));
}

void HubShards::begin(const std::vector<std::string>& order) {
  const uint64_t shards = most_bytes(order), free = free_for_shards();
  require(shards <= free, ErrorKind::resource, "{}: expected room for {} of {} shards at a time, found {}", folder_,
          size_of(shards), keep_, size_of(free));
  std::vector<hub::HubFile> files;
  for (const std::string& name : order) files.push_back(file_named(name));
  fetching_ = std::make_unique<hub::FewAtATime>(options_.fetch, source_, std::move(files),
                                                hub::RepositoryCache(folder_, options_.repository), keep_);
}

std::string HubShards::wait_for(const std::string& name, std::chrono::milliseconds time) {
  return fetching_->wait_for(name, time);
}

void HubShards::done(const std::string& name) {
  fetching_->done(name);
}

void HubShards::drop() {
  if (fetching_) fetching_->stop();
  std::error_code ignored;  // what made the file useless is what is said
  fs::remove_all(folder_, ignored);
}

std::string HubShards::room_text() const {
  if (planned_.order.empty()) return "";
  return fmt::format("{} in {} of {} shards at a time, in {}", size_of(most_bytes(planned_.order)), keep_,
                     planned_.order.size(), folder_);
}

void HubShards::check() {
  if (!fetching_) return;
  for (const std::string& text : fetching_->take_told()) tell_(text);
  fetching_->check();
}

hub::FetchedAhead HubShards::progress() {
  return fetching_ ? fetching_->progress() : hub::FetchedAhead();
}

}  // namespace hearth::cli
