// The hub's cache on this machine, in the layout of huggingface_hub, so that other programs find what is fetched here
// and the other way round (https://huggingface.co/docs/huggingface_hub/guides/manage-cache):
//
//   models--ORGANIZATION--NAME/
//     blobs/CHECKSUM                     the files, named by what they hold
//     refs/REVISION                      the commit that a branch or a tag meant when it was fetched last
//     snapshots/COMMIT/folder/name       links to the blobs, relative ones: ../../../blobs/CHECKSUM
//   .locks/models--ORGANIZATION--NAME/CHECKSUM.lock      held (flock) by who fetches the blob
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/hub/listing.h"

namespace hearth::hub {

// $HF_HUB_CACHE, or hub/ in $HF_HOME, $XDG_CACHE_HOME/huggingface or ~/.cache/huggingface. Throws Error(usage): there
// is no home.
std::string cache_folder();
// $HF_TOKEN, else what $HF_TOKEN_PATH or `token` in the folder above holds; "": no token. Throws Error(usage): there is
// one that no token looks like; it is not shown.
std::string hub_token();

// Held by the only process that fetches a blob.
class BlobLock {
 public:
  // Throws Error(file): another process holds it; it cannot be created.
  BlobLock(const std::string& path, const std::string& of_what);
  ~BlobLock();
  BlobLock(BlobLock&& other) noexcept;
  BlobLock& operator=(BlobLock&&) = delete;

 private:
  int fd_ = -1;
};

class RepositoryCache {
 public:
  // `folder`: that of all repositories.
  RepositoryCache(const std::string& folder, const std::string& repository);

  const std::string& folder() const { return folder_; }  // of all repositories
  std::string blob(const HubFile& file) const;
  std::string partial_blob(const HubFile& file) const;  // while it is fetched, by us
  std::string snapshot(const std::string& commit) const;

  // There is a blob, and as long as it should be.
  bool has(const HubFile& file) const;
  // Of what is fetched in part, the bytes that the file system has set aside for it: they need no new room.
  uint64_t set_aside(const HubFile& file) const;

  BlobLock lock(const HubFile& file) const;
  // The names of a snapshot appear when their content is there. Throw Error(file).
  void make_folders() const;
  void link(const std::string& commit, const HubFile& file) const;
  void write_ref(const std::string& revision, const std::string& commit) const;

 private:
  std::string folder_, repository_, locks_;
};

// What the file system of `folder`, which need not be there yet, has left for this user, in bytes. Throws Error(file).
uint64_t free_bytes(const std::string& folder);

}  // namespace hearth::hub
