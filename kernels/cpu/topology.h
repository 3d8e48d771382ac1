// How many physical cores there are to work with. Two hardware threads of one core share its multipliers: a second
// thread there slows both down.
#pragma once

#include <string>
#include <vector>

namespace hearth {

// Physical cores among these CPUs, from `sysfs`/cpuN/topology (normally /sys/devices/system/cpu). A CPU that says
// nothing there counts as a core of its own.
int count_cores(const std::string& sysfs, const std::vector<int>& cpus);

std::vector<int> allowed_cpus();  // those that this process may run on; empty when the system does not say

}  // namespace hearth
