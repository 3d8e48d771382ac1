#include "quant/control_group.h"

#include <fmt/format.h>

#include <fstream>

namespace hearth {

// A line of /proc/self/cgroup is "0::/GROUP" in version 2 and "N:CONTROLLERS:/GROUP" in version 1, where each
// controller has a tree of its own.
std::vector<ControlGroup> control_groups(const std::string& root, std::string_view controller) {
  std::vector<ControlGroup> groups;
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool version_1 = ("," + controllers + ",").find(fmt::format(",{},", controller)) != std::string::npos;
    if (!version_1 && !controllers.empty()) continue;
    const std::string tree = root + "/sys/fs/cgroup" + (version_1 ? fmt::format("/{}", controller) : "");
    for (std::string group = line.substr(second + 1);; group.resize(group.rfind('/'))) {
      if (group == "/") group.clear();
      groups.push_back({tree + group, version_1});
      if (group.rfind('/') == std::string::npos) break;
    }
  }
  return groups;
}

}  // namespace hearth
