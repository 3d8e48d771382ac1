#include "runtime/support/system_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

#include "quant/control_group.h"
#include "runtime/support/size_text.h"

namespace hearth {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// "MemAvailable:   21474836 kB"; 0: there is no such line.
uint64_t memory_line(const std::string& root, const char* wanted) {
  std::ifstream file(root + "/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t kilobytes = 0;
    if (words >> name >> kilobytes && name == wanted) return kilobytes * 1024;
  }
  return 0;
}

// A file with one number, or "max"; a group without the file sets no limit.
uint64_t read_limit(const std::string& path) {
  std::ifstream file(path);
  uint64_t bytes = 0;
  return file >> bytes ? bytes : kUnlimited;
}

// The least limit of this process's group and those above.
uint64_t group_limit(const std::string& root) {
  uint64_t least = kUnlimited;
  for (const ControlGroup& group : control_groups(root, "memory")) {
    const char* name = group.version_1 ? "/memory.limit_in_bytes" : "/memory.max";
    least = std::min(least, read_limit(group.folder + name));
  }
  return least;
}

// One unit for all figures of a sentence that compares them.
std::string gigabytes(double bytes) {
  return figure_text(bytes / 1e9) + " GB";
}

}  // namespace

uint64_t usable_memory(const std::string& root) {
  const uint64_t available = memory_line(root, "MemAvailable:");
  return available == 0 ? 0 : std::min(available, group_limit(root));
}

uint64_t total_memory(const std::string& root) {
  return memory_line(root, "MemTotal:");
}

uint64_t bytes_from_disk(const std::string& root) {
  std::ifstream file(root + "/proc/self/io");
  std::string name;
  for (uint64_t value = 0; file >> name >> value;)
    if (name == "read_bytes:") return value;
  return 0;
}

std::string memory_advice(const MemoryNeed& need, uint64_t usable) {
  if (usable == 0 || need.weights + need.working <= usable || need.weights == 0) return "";
  const double for_weights = usable > need.working ? double(usable - need.working) : 0;
  const double missing = std::max(0.0, 1 - for_weights / double(need.weights));
  const double per_token = double(need.active_weights) * missing, rate = std::min(1e9 / per_token, 1000.0);
  return fmt::format(
      "{} of weights and {} of working memory do not fit into {} of free memory: about {} are read from disk for every "
      "token, so expect at most {:.{}f} tok/s for each GB/s that the disk reads",
      gigabytes(double(need.weights)), gigabytes(double(need.working)), gigabytes(double(usable)), gigabytes(per_token),
      rate,
      rate < 1    ? 2
      : rate < 10 ? 1
                  : 0);
}

}  // namespace hearth
