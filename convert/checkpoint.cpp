#include "convert/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "convert/json_file.h"
#include "quant/error.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxIndexBytes = 100'000'000;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kSuffix = ".safetensors";

std::string file_name(const SourceTensor& tensor) {
  return fs::path(tensor.file->path()).filename().string();
}

// What lies in the folder.
struct Listing {
  std::set<std::string> safetensors;
  bool pytorch = false;
};

Listing list_files(const std::string& dir) {
  Listing listing;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(kSuffix)) listing.safetensors.insert(name);
    listing.pytorch = listing.pytorch || name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
  }
  require(!error, ErrorKind::file, "{}: cannot list: {}", dir, error.message());
  return listing;
}

// "model-00002-of-00007.safetensors": number 2 of the set of 7 that begin with "model-".
struct ShardName {
  std::string set;
  int number, count;
};

std::optional<ShardName> parse_shard_name(const std::string& name) {
  constexpr size_t kDigits = 5, kTail = 2 * kDigits + 4;  // 00002-of-00007
  if (name.size() < kTail + kSuffix.size()) return std::nullopt;
  const size_t at = name.size() - kSuffix.size() - kTail;
  const std::string tail = name.substr(at, kTail);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool numbered = std::all_of(tail.begin(), tail.begin() + kDigits, is_digit) &&
                        tail.substr(kDigits, 4) == "-of-" && std::all_of(tail.end() - kDigits, tail.end(), is_digit);
  if (!numbered) return std::nullopt;
  return ShardName{name.substr(0, at) + tail.substr(kDigits), std::stoi(tail), std::stoi(tail.substr(kDigits + 4))};
}

// The names of numbered shards show whether one is missing.
void require_whole_sets(const std::string& dir, const std::set<std::string>& shards) {
  std::map<std::string, std::set<int>> numbers;
  for (const std::string& name : shards) {
    if (const auto shard = parse_shard_name(name)) numbers[shard->set].insert(shard->number);
  }
  for (const std::string& name : shards) {
    const auto shard = parse_shard_name(name);
    if (!shard) continue;
    const std::set<int>& found = numbers[shard->set];
    for (int number = 1; number <= shard->count; ++number) {
      if (found.contains(number)) continue;
      std::string missing = name;
      missing.replace(name.size() - kSuffix.size() - 14, 5, fmt::format("{:05}", number));
      fail(ErrorKind::file, "{}: {} of {} shards are missing, the first: {}", dir, shard->count - int(found.size()),
           shard->count, missing);
    }
  }
}

// Without an index: every file of the model. Files with the usual names of model files come first.
std::set<std::string> choose_without_index(const std::string& dir, const Listing& listing) {
  std::set<std::string> named, others;
  for (const std::string& name : listing.safetensors) {
    if (name.starts_with("model")) {
      named.insert(name);
    } else if (!name.starts_with("adapter_")) {
      others.insert(name);
    }
  }
  const std::set<std::string>& chosen = named.empty() ? others : named;
  require(!chosen.empty(), ErrorKind::file, "{}: has no {}{}", dir, kSingleFile,
          !listing.safetensors.empty() ? fmt::format(", only {}: a LoRA adapter has to be merged into its base model",
                                                     *listing.safetensors.begin())
          : listing.pytorch            ? ": PyTorch .bin checkpoints are not supported, save it as safetensors first"
                                       : "");
  require_whole_sets(dir, chosen);
  return chosen;
}

std::set<std::string> files_of_index(const std::map<std::string, std::string>& index, const std::string& dir,
                                     const Listing& listing) {
  std::set<std::string> files;
  for (const auto& [tensor, file] : index) files.insert(file);
  std::vector<std::string> missing;
  std::set_difference(files.begin(), files.end(), listing.safetensors.begin(), listing.safetensors.end(),
                      std::back_inserter(missing));
  require(missing.empty(), ErrorKind::file, "{}: {} of {} shards are missing, the first: {}", dir, missing.size(),
          files.size(), missing.empty() ? "" : missing.front());
  return files;
}

std::map<std::string, std::string> read_index(const std::string& path) {
  const MappedFile file(path);
  require(file.size() <= kMaxIndexBytes, ErrorKind::format, "{}: expected at most {} bytes, found {}", path,
          kMaxIndexBytes, file.size());
  return parse_safetensors_index({reinterpret_cast<const char*>(file.bytes().data()), file.size()}, path);
}

bool same_bytes(const SourceTensor& a, const SourceTensor& b) {
  require_there(a);
  require_there(b);
  return a.dtype == b.dtype && a.shape == b.shape &&
         std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end());
}

}  // namespace

// Those that have to come keep the name that they would have in the folder.
void Checkpoint::add_files(const std::set<std::string>& names, const Index& index, ShardSource* source) {
  const auto in_folder = [&](const std::string& name) { return (fs::path(dir_) / name).string(); };
  if (!source) {
    for (const std::string& name : names) add_file(std::make_unique<MappedFile>(in_folder(name)), index);
    return;
  }
  shards_ = source->look_at({names.begin(), names.end()});
  for (Shard& shard : shards_) {
    MappedFile file = shard.path.empty()
                          ? MappedFile::awaited(in_folder(shard.name), shard.size, std::as_bytes(std::span(shard.head)))
                          : MappedFile(shard.path);
    std::string().swap(shard.head);
    add_file(std::make_unique<MappedFile>(std::move(file)), index);
  }
}

void Checkpoint::add_file(std::unique_ptr<MappedFile> added, const Index& index) {
  files_.push_back(std::move(added));
  const MappedFile* file = files_.back().get();
  const std::string name = fs::path(file->path()).filename().string();
  for (SourceTensor& tensor : parse_safetensors(file->bytes(), file->path())) {
    tensor.file = file;
    const auto [it, is_new] = tensors_.try_emplace(tensor.name, tensor);
    if (is_new) continue;
    SourceTensor& first = it->second;
    if (n_copies_++ == 0) first_copy_ = fmt::format("{} in {} and {}", tensor.name, file_name(first), name);
    const auto listed = index.find(tensor.name);
    require(listed != index.end() || same_bytes(first, tensor), ErrorKind::format,
            "{}: tensor {} is in two files, {} and {}, which differ, and no {} says which one counts", dir_,
            tensor.name, file_name(first), name, kIndexFile);
    if (listed != index.end() && listed->second == name) first = tensor;
  }
}

void Checkpoint::check_index(const Index& index, const std::string& path) const {
  for (const auto& [name, shard] : index) {
    const SourceTensor* tensor = find(name);
    require(tensor, ErrorKind::format, "{}: tensor {} is listed for {}, which does not hold it", path, one_line(name),
            shard);
    require(file_name(*tensor) == shard, ErrorKind::format, "{}: tensor {}: expected in {}, found in {}", path,
            one_line(name), shard, file_name(*tensor));
  }
}

// The embedding shows the prefix: every model has exactly one outside of its layers.
void Checkpoint::use_family_names() {
  constexpr std::string_view kEmbedding = "embed_tokens.weight", kHead = "lm_head.weight", kOurs = "model.";
  std::vector<std::string> prefixes;
  for (const auto& [name, tensor] : tensors_) {
    if (name.ends_with(kEmbedding) && name.find("layers.") == std::string::npos)
      prefixes.push_back(name.substr(0, name.size() - kEmbedding.size()));
  }
  if (prefixes.size() != 1 || prefixes[0] == kOurs) return;
  const std::string& prefix = prefixes[0];
  std::map<std::string, SourceTensor, std::less<>> renamed;
  for (auto& [name, tensor] : tensors_) {
    const bool is_head = name.ends_with(kHead) && prefix.starts_with(name.substr(0, name.size() - kHead.size()));
    std::string ours = name;
    if (is_head) {
      ours = kHead;
    } else if (name.starts_with(prefix)) {
      ours = std::string(kOurs) + name.substr(prefix.size());
    }
    const bool is_new = renamed.emplace(ours, tensor).second;
    require(is_new, ErrorKind::format, "{}: two tensors would be named {}, one of them {}", dir_, ours, name);
  }
  tensors_ = std::move(renamed);
  notes_.push_back(prefix.empty() ? "the tensors' names lack the usual prefix model.: read as if they had it"
                                  : fmt::format("the tensors' names begin with {} instead of model.: read as if they "
                                                "began so",
                                                prefix));
}

Checkpoint Checkpoint::open(const std::string& dir, ShardSource* shards) {
  std::error_code error;
  require(fs::is_directory(dir, error), ErrorKind::file, "{}: expected the directory of a Hugging Face checkpoint",
          dir);
  Checkpoint checkpoint;
  checkpoint.dir_ = dir;
  Listing listing = list_files(dir);
  if (shards) listing.safetensors = shards->names();
  const std::string index_path = (fs::path(dir) / kIndexFile).string();

  Index index;
  if (fs::exists(index_path, error)) index = read_index(index_path);
  const bool single = listing.safetensors.contains(kSingleFile);
  const bool index_knows_single =
      std::any_of(index.begin(), index.end(), [](auto& i) { return i.second == kSingleFile; });
  if (single && !index_knows_single) index.clear();  // one whole file goes first, as in transformers
  std::set<std::string> used = {kSingleFile};
  if (!index.empty()) {
    used = files_of_index(index, dir, listing);
  } else if (!single) {
    used = choose_without_index(dir, listing);
    checkpoint.notes_.push_back(fmt::format("there is no {}: read all {} safetensors files{}", kIndexFile, used.size(),
                                            used.size() == 1 ? "" : " of the model"));
  }
  checkpoint.add_files(used, index, shards);
  checkpoint.check_index(index, index_path);
  if (checkpoint.n_copies_ > 0) {
    checkpoint.notes_.push_back(fmt::format("{} tensor{} in two files: {}, the first: {}", checkpoint.n_copies_,
                                            checkpoint.n_copies_ == 1 ? " is" : "s are",
                                            index.empty() ? "the copies are equal" : "the index says which one counts",
                                            checkpoint.first_copy_));
  }
  std::vector<std::string> extra;
  std::set_difference(listing.safetensors.begin(), listing.safetensors.end(), used.begin(), used.end(),
                      std::back_inserter(extra));
  if (!extra.empty()) {
    checkpoint.notes_.push_back(fmt::format("{} .safetensors file{} that the checkpoint does not name left aside: {}{}",
                                            extra.size(), extra.size() == 1 ? "" : "s", extra.front(),
                                            extra.size() == 1 ? "" : ", ..."));
  }
  checkpoint.use_family_names();
  return checkpoint;
}

const SourceTensor* Checkpoint::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

}  // namespace hearth
