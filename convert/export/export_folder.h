// The folder that an export goes into: nobody else writes there meanwhile, it does not look whole until it is, and what
// a run that was killed left there is gone on with.
//
//   export.partial            what is to come there: while it lies there, the folder is not whole
//   model-*.safetensors       whole files, named when they are on disk (shard_file.h)
//   ..., config.json          last
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "convert/export/shard_plan.h"
#include "quant/partial_file.h"

namespace hearth {

class ExportFolder {
 public:
  // Takes the folder, and makes it where there is none. `conditions`: a checksum of all that determines the files.
  // Error(usage): it has files of something else and `overwrite` is not set. Error(file): another process writes there.
  ExportFolder(std::string path, uint64_t conditions, bool overwrite);
  ~ExportFolder();
  ExportFolder(const ExportFolder&) = delete;
  ExportFolder& operator=(const ExportFolder&) = delete;

  const std::string& path() const { return path_; }
  bool goes_on() const { return goes_on_; }                      // an earlier run's files are of these conditions
  const std::string& begun_anew() const { return begun_anew_; }  // why; empty: nothing was there, or it goes on

  // Throws Error(file): there is less space, what will be removed or written over included.
  void require_space(uint64_t bytes) const;
  // From here on what lies there may be lost: a model that `overwrite` allows to replace, and what an earlier run left
  // of other conditions, is removed.
  void begin();
  // What is there already stays for a later run, or goes if this one fails.
  void keep(bool keep) {
    marker_.leave(keep);
    kept_ = keep;
  }
  // Writes a small file, whole or not at all. Throws Error(file).
  void write(const std::string& name, const std::string& text) const;
  // All files are there.
  void finish();

 private:
  void remove_model() const;

  std::string path_, conditions_;
  PartialFile marker_;
  bool made_ = false;  // the folder is new
  bool goes_on_ = false, begun_ = false, kept_ = false, finished_ = false;
  std::string begun_anew_;
};

}  // namespace hearth
