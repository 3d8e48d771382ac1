// A checkpoint's shards from a hub, for the converter: fetched while the file is made of them, a few at a time, into a
// folder beside that file.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "convert/shard_source.h"
#include "runtime/hub/few_at_a_time.h"
#include "runtime/hub/pull.h"

namespace hearth::cli {

class HubShards : public ShardSource {
 public:
  // `plan.later` are the shards; those that the hub's cache has are taken from there, and stay. `keep`: so many others
  // lie on the disk at once; 0: two more than there have to. `only_plan`: nothing will be made, so no room is needed.
  // All must outlive it.
  HubShards(const hub::PullOptions& options, const hub::PullPlan& plan, size_t keep, bool only_plan, hub::Tick tick,
            hub::Tell tell);

  std::set<std::string> names() const override;
  std::vector<Shard> look_at(const std::vector<std::string>& names) override;
  void planned(const ShardPlan& plan) override;
  void begin(const std::vector<std::string>& order) override;
  std::string wait_for(const std::string& name, std::chrono::milliseconds time) override;
  void done(const std::string& name) override;
  std::string folder() const override { return folder_; }
  void drop() override;

  // "5.2 GB in 4 of 9 shards at a time, in out.gguf.partial.shards", when it is planned; empty: none has to come.
  std::string room_text() const;
  uint64_t free_bytes() const;   // where they and the file will lie
  void check();                  // throws what stopped the fetching; tells what is to be told
  hub::FetchedAhead progress();  // when it has begun

 private:
  const hub::HubFile& file_named(const std::string& name) const;
  uint64_t most_bytes(const std::vector<std::string>& names) const;  // of as many as lie there at once
  uint64_t free_for_shards() const;

  const hub::PullOptions& options_;
  const hub::PullPlan& plan_;
  size_t keep_;
  bool only_plan_;
  hub::Tick tick_;
  hub::Tell tell_;
  hub::DownloadSource source_;
  std::map<std::string, const hub::HubFile*> files_;  // the shards, by their names
  std::string folder_;
  ShardPlan planned_;
  std::unique_ptr<hub::FewAtATime> fetching_;  // null: not begun
};

}  // namespace hearth::cli
