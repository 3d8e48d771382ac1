// Opening a file, or all parts of a split one.
#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "quant/not_gguf.h"
#include "quant/split_file.h"

namespace hearth {

namespace {

// When somebody cuts a GGUF file by size, the first piece begins like a whole file and is shorter than it says; the
// others begin like nothing. Both are recognised by their names.
GgufContents parse_whole(const MappedFile& file) try {
  return parse_gguf(file.bytes(), file.path());
} catch (const Error&) {
  refuse_piece(file.path());
  throw;
}

}  // namespace

GgufFile GgufFile::open(const std::string& path) {
  refuse_folder(path);
  GgufFile file;
  auto named = std::make_unique<MappedFile>(path);
  GgufContents contents = parse_whole(*named);
  const SplitParts parts = split_parts(path, contents.metadata);
  if (parts.count == 1) {
    file.add(std::move(named), std::move(contents));
    return file;
  }

  require_all_parts(parts);
  make_room_for_open_files(parts);
  for (uint64_t i = 0; i < parts.count; ++i) {
    auto part = std::make_unique<MappedFile>(parts.path(i));
    contents = parse_gguf(part->bytes(), part->path());
    require_part(parts, i, contents.metadata, i == 0 ? contents.metadata : file.metadata_);
    file.add(std::move(part), std::move(contents));
  }
  const auto n_tensors = file.metadata_.unsigned_integer(key::kSplitTensorsCount);
  require(!n_tensors || *n_tensors == file.tensors_.size(), ErrorKind::format,
          "{}: expected {} tensors in all parts ({}), found {}", path, n_tensors.value_or(0), key::kSplitTensorsCount,
          file.tensors_.size());
  return file;
}

GgufFile GgufFile::of(GgufContents contents) {
  GgufFile file;
  file.metadata_ = std::move(contents.metadata);
  for (Tensor& tensor : contents.tensors) file.add(std::move(tensor), file.path());
  return file;
}

GgufFile GgufFile::planned(const std::string& path, const GgufMetadata& metadata,
                           const std::vector<GgufTensorPlan>& tensors) {
  GgufFile file;
  file.metadata_ = metadata;
  file.metadata_.source = path;
  for (const GgufTensorPlan& plan : tensors) {
    file.index_.emplace(plan.name, file.tensors_.size());
    file.tensors_.push_back({plan.name, plan.format, plan.shape});
  }
  return file;
}

void GgufFile::add(std::unique_ptr<MappedFile> part, GgufContents&& contents) {
  if (parts_.empty()) metadata_ = std::move(contents.metadata);
  for (Tensor& tensor : contents.tensors) add(std::move(tensor), part->path());
  by_address_.emplace(part->bytes().data(), parts_.size());
  parts_.push_back(std::move(part));
}

void GgufFile::add(Tensor tensor, const std::string& from) {
  const auto [it, is_new] = index_.try_emplace(tensor.name, tensors_.size());
  if (!is_new) {
    const MappedFile* other = part_of(tensors_[it->second].data);
    fail(ErrorKind::format, "{}: corrupt: tensor {} occurs twice{}", from, tensor.name,
         other ? ", and first in " + other->path() : "");
  }
  tensors_.push_back(std::move(tensor));
}

void GgufFile::include(GgufFile other, const std::function<bool(const Tensor&)>& which) {
  for (Tensor& tensor : other.tensors_) {
    if (which(tensor)) add(std::move(tensor), other.path());
  }
  for (auto& part : other.parts_) {
    by_address_.emplace(part->bytes().data(), parts_.size());
    parts_.push_back(std::move(part));
  }
}

const MappedFile* GgufFile::part_of(const std::byte* data) const {
  auto it = by_address_.upper_bound(data);
  if (it == by_address_.begin()) return nullptr;
  const MappedFile& part = *parts_[(--it)->second];
  return data < part.bytes().data() + part.size() ? &part : nullptr;
}

const Tensor* GgufFile::find_tensor(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

const Tensor& GgufFile::tensor(std::string_view name) const {
  const Tensor* found = find_tensor(name);
  require(found, ErrorKind::model, "{}: tensor {} is missing", path(), name);
  return *found;
}

uint64_t GgufFile::file_bytes() const {
  uint64_t total = 0;
  for (const auto& part : parts_) total += part->size();
  return total;
}

}  // namespace hearth
