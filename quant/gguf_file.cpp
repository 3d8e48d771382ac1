// Opening a file, or all parts of a split one.
#include <algorithm>

#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "quant/not_gguf.h"

namespace hearth {

namespace {

// "dir/PREFIX-00002-of-00003.gguf" -> "dir/PREFIX"; nothing where the name is not of that form for `count` parts.
std::optional<std::string> split_prefix(const std::string& path, uint64_t count) {
  const std::string tail = fmt::format("-of-{:05}.gguf", count);
  constexpr size_t number = 6;  // "-00002"
  if (!path.ends_with(tail) || path.size() < tail.size() + number) return std::nullopt;
  const std::string middle = path.substr(path.size() - tail.size() - number, number);
  const bool digits = std::all_of(middle.begin() + 1, middle.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (middle[0] != '-' || !digits) return std::nullopt;
  return path.substr(0, path.size() - tail.size() - number);
}

// How many files this one says it is a part of.
uint64_t split_count(const GgufMetadata& metadata) {
  return std::max<uint64_t>(1, metadata.unsigned_integer(key::kSplitCount).value_or(1));
}

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
  auto first = std::make_unique<MappedFile>(path);
  GgufContents contents = parse_whole(*first);
  const uint64_t n_parts = split_count(contents.metadata);
  if (n_parts == 1) {
    file.parts_.push_back(std::move(first));
    file.add(std::move(contents));
    return file;
  }

  const std::optional<std::string> prefix = split_prefix(path, n_parts);
  require(prefix.has_value(), ErrorKind::format,
          "{}: is one of {} parts, expected a name ending in -NNNNN-of-{:05}.gguf", path, n_parts, n_parts);
  for (uint64_t i = 0; i < n_parts; ++i) {
    const std::string part_path = fmt::format("{}-{:05}-of-{:05}.gguf", *prefix, i + 1, n_parts);
    auto part = std::make_unique<MappedFile>(part_path);
    contents = parse_gguf(part->bytes(), part_path);
    const uint64_t count = split_count(contents.metadata);
    const auto number = contents.metadata.unsigned_integer(key::kSplitNo);
    require(count == n_parts && number == i, ErrorKind::format,
            "{}: expected part {} of {} by its name, its keys say part {} of {}", part_path, i + 1, n_parts,
            number ? std::to_string(*number + 1) : "?", count);
    file.parts_.push_back(std::move(part));
    file.add(std::move(contents));
  }
  const auto n_tensors = file.metadata_.unsigned_integer(key::kSplitTensorsCount);
  require(!n_tensors || *n_tensors == file.tensors_.size(), ErrorKind::format,
          "{}: expected {} tensors in all parts ({}), found {}", path, n_tensors.value_or(0), key::kSplitTensorsCount,
          file.tensors_.size());
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

void GgufFile::add(GgufContents&& part) {
  if (parts_.size() == 1) metadata_ = std::move(part.metadata);
  for (Tensor& tensor : part.tensors) {
    const auto [it, is_new] = index_.try_emplace(tensor.name, tensors_.size());
    require(is_new, ErrorKind::format, "{}: corrupt: tensor {} occurs twice", parts_.back()->path(), tensor.name);
    tensors_.push_back(std::move(tensor));
  }
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
