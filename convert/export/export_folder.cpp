#include "convert/export/export_folder.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <regex>
#include <system_error>
#include <utility>

#include "convert/export/shard_file.h"
#include "quant/checksum.h"
#include "quant/error.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMarker = "export";  // with what PartialFile adds

// What an export makes, finished or not; other files are left alone.
bool is_of_model(const std::string& name) {
  static const std::regex made(
      R"((model(-\d{5}-of-\d{5})?\.safetensors|(config|generation_config|tokenizer|tokenizer_config|)"
      R"(model\.safetensors\.index)\.json)(\.partial)?)");
  return std::regex_match(name, made);
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  require(!error, ErrorKind::file, "{}: cannot list: {}", path, error.message());
  std::ranges::sort(names);
  return names;
}

std::string read_start(int fd) {
  char text[32];
  const ssize_t n = pread(fd, text, sizeof text, 0);
  return std::string(text, size_t(std::max<ssize_t>(n, 0)));
}

}  // namespace

ExportFolder::ExportFolder(std::string path, uint64_t conditions, bool overwrite)
    : path_(std::move(path)), conditions_(checksum_text(conditions) + "\n") {
  std::error_code error;
  const bool there = fs::exists(path_, error);
  require(!there || fs::is_directory(path_, error), ErrorKind::usage, "{}: expected a folder, found a file", path_);
  made_ = !there && fs::create_directories(path_, error);
  require(there || made_, ErrorKind::file, "{}: cannot create: {}", path_, error.message());

  const std::string marker = std::string(kMarker) + ".partial";
  const std::vector<std::string> names = names_in(path_);
  const bool unfinished = std::ranges::find(names, marker) != names.end();
  require(names.empty() || unfinished || overwrite, ErrorKind::usage,
          "{}: expected an empty folder, found {}{}, and overwriting was not asked for", path_,
          names.empty() ? "" : names.front(), names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "");
  marker_ = PartialFile::take_over(path_ + "/" + kMarker);
  const std::string earlier = read_start(marker_.fd());
  marker_.leave(!earlier.empty());
  goes_on_ = earlier == conditions_;
  if (!goes_on_ && !earlier.empty())
    begun_anew_ = "another model, form or version of this program, or its files have changed";
}

void ExportFolder::begin() {
  begun_ = true;
  keep(false);
  if (goes_on_) return;
  const bool written =
      ftruncate(marker_.fd(), 0) == 0 && marker_.write(std::as_bytes(std::span(conditions_))) && marker_.sync();
  require(written, ErrorKind::file, "{}: cannot write: {}", marker_.name(), std::generic_category().message(errno));
  remove_model();
}

ExportFolder::~ExportFolder() {
  if (finished_ || kept_) return;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path_, ignored)) {
    if (begun_ && is_of_model(entry.path().filename().string())) fs::remove(entry.path(), ignored);
  }
  marker_ = PartialFile();  // removes it
  if (made_) fs::remove(path_, ignored);
}

// config.json is the first: what is left if this is interrupted does not look whole.
void ExportFolder::remove_model() const {
  for (const std::string& name : names_in(path_)) {
    std::error_code error;
    if (is_of_model(name)) fs::remove(path_ + "/" + name, error);
    require(!error, ErrorKind::file, "{}/{}: cannot remove: {}", path_, name, error.message());
  }
}

void ExportFolder::require_space(uint64_t bytes) const {
  std::error_code error;
  const fs::space_info space = fs::space(path_, error);
  if (error) return;  // writing will tell
  uint64_t available = space.available;
  for (const std::string& name : names_in(path_)) {
    const bool goes = is_of_model(name) && (!goes_on_ || name.ends_with(".partial"));
    const uint64_t size = goes ? fs::file_size(path_ + "/" + name, error) : 0;
    if (!error) available += size;
  }
  require(available >= bytes, ErrorKind::file, "{}: expected room for {} bytes, found {}", path_, bytes, available);
}

void ExportFolder::write(const std::string& name, const std::string& text) const {
  PartialFile file = PartialFile::take_over(path_ + "/" + name);
  const bool written =
      ftruncate(file.fd(), 0) == 0 && file.write(std::as_bytes(std::span(text))) && file.sync() && file.rename();
  require(written, ErrorKind::file, "{}/{}: cannot write: {}", path_, name, std::generic_category().message(errno));
}

void ExportFolder::finish() {
  sync_folder(path_);
  finished_ = true;
  marker_.leave(false);
  marker_ = PartialFile();
}

}  // namespace hearth
