// A Hugging Face checkpoint's tensors: one safetensors file, shards with an index, or shards whose names show that all
// are there. Files are mapped, never copied.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "convert/safetensors.h"
#include "convert/shard_source.h"

namespace hearth {

class Checkpoint {
 public:
  // Opens the files in `dir` that hold the model. Of a tensor that several files hold, the copy in the file that the
  // index names counts; if no index names it, the copies must be equal. Names with a foreign prefix
  // ("language_model.model.layers", "layers") are found under the family's own ("model.layers"). Throws Error(file) for
  // a missing shard, Error(format) for a corrupt one, for an index that the shards contradict, and for tensors that
  // differ where no index decides. `shards`: whose safetensors files count, in place of the folder's; those that have
  // to come are awaited (MappedFile::awaited), and nothing is looked at but their headers. null: the folder's.
  static Checkpoint open(const std::string& dir, ShardSource* shards = nullptr);

  const std::string& dir() const { return dir_; }
  const SourceTensor* find(std::string_view name) const;  // null: absent
  // Keyed by the family's names; SourceTensor::name is the name in the file, for messages.
  const std::map<std::string, SourceTensor, std::less<>>& tensors() const { return tensors_; }
  const std::vector<std::unique_ptr<MappedFile>>& files() const { return files_; }
  const std::vector<Shard>& shards() const { return shards_; }      // those of `files`, where a source has them
  const std::vector<std::string>& notes() const { return notes_; }  // what was settled, what was left aside

 private:
  using Index = std::map<std::string, std::string>;  // the file of each tensor; empty: there is no index

  void add_files(const std::set<std::string>& names, const Index& index, ShardSource* source);
  void add_file(std::unique_ptr<MappedFile> file, const Index& index);
  void check_index(const Index& index, const std::string& path) const;
  void use_family_names();

  std::string dir_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<Shard> shards_;
  std::map<std::string, SourceTensor, std::less<>> tensors_;
  size_t n_copies_ = 0;
  std::string first_copy_;
  std::vector<std::string> notes_;
};

}  // namespace hearth
