// Shards of a checkpoint that need not be there yet: they come while a file is made of them, a few at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace hearth {

struct Shard {
  std::string name;  // "model-00001-of-00163.safetensors"
  uint64_t size = 0;
  std::string checksum;  // another content has another one
  std::string path;      // where it lies and stays; empty: it has to come
  std::string head;      // of one that has to come: its first bytes, with the whole header of safetensors
};

// What will be asked for, when the file is planned.
struct ShardPlan {
  std::string output;
  uint64_t file_bytes = 0;         // of the file that is to be made
  std::vector<std::string> order;  // names of the shards that have to come, and do so
  size_t least = 0;                // so many of them must have room on the disk at once
};

class ShardSource {
 public:
  virtual ~ShardSource() = default;

  // The safetensors files of the checkpoint, by their names.
  virtual std::set<std::string> names() const = 0;
  // What is known of some of them, in that order. Throws Error.
  virtual std::vector<Shard> look_at(const std::vector<std::string>& names) = 0;
  // Throws Error(usage), Error(resource) where there is no room for that. Nothing is written yet.
  virtual void planned(const ShardPlan& plan) = 0;

  // Begins to fetch these, in this order: the plan's, without those that an earlier run was done with. Throws Error.
  virtual void begin(const std::vector<std::string>& order) = 0;
  // Where a shard lies, when it is whole and checked; empty: not within this time. From any thread. Throws
  // Error(resource): it will never come.
  virtual std::string wait_for(const std::string& name, std::chrono::milliseconds time) = 0;
  // A shard that came is not needed any more, now or by a later run. From one thread. Throws Error(file).
  virtual void done(const std::string& name) = 0;
  // Where shards lie until then; and that none of them is of use to a later run.
  virtual std::string folder() const = 0;
  virtual void drop() = 0;
};

}  // namespace hearth
