// One file of an export while it is written.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "convert/export/shard_plan.h"
#include "quant/partial_file.h"
#include "quant/write_behind.h"

namespace hearth {

// Lies under a temporary name until it is whole and on disk, and leaves nothing if it is destroyed before.
class ShardFile {
 public:
  // Claims the disk's space for all of it and writes the header. `shard` must outlive it. Throws Error(file).
  ShardFile(const std::string& folder, const ExportShard& shard);

  // Bytes at an offset of the file, each once; in any order, from several threads. True: all has arrived. Throws
  // Error(file): disk full.
  bool write(uint64_t offset, std::span<const std::byte> bytes);
  // Brings it to the disk and gives it its name. Throws Error(file).
  void finish();

 private:
  std::string path_;
  PartialFile partial_;
  std::atomic<uint64_t> left_;  // bytes that have not arrived
  std::mutex behind_mutex_;
  WriteBehind behind_;
};

// Whether the folder has the whole file: of this size, with this header.
bool has_shard(const std::string& folder, const ExportShard& shard);

// Brings a folder's names to the disk. Throws Error(file).
void sync_folder(const std::string& folder);

}  // namespace hearth
