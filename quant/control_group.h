// Linux control groups: containers and services are held to less than the machine has by limits in files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hearth {

struct ControlGroup {
  std::string folder;  // where the limits' files are
  bool version_1;
};

// This process's group of a controller ("cpu", "memory") and those above it, in version 2 and in version 1 if both
// exist. `root` stands for "/" in tests.
std::vector<ControlGroup> control_groups(const std::string& root, std::string_view controller);

}  // namespace hearth
