// How many physical cores this process can use. Two hardware threads of one core share its multipliers, so using both
// slows both down.
#pragma once

#include <string>
#include <vector>

namespace hearth {

// Physical cores among these CPUs, from `sysfs`/cpuN/topology (normally /sys/devices/system/cpu). A CPU without such
// files counts as a core of its own.
int count_cores(const std::string& sysfs, const std::vector<int>& cpus);

std::vector<int> allowed_cpus();  // the CPUs that this process may run on; empty when the system does not say

// Processors that the control groups of this process let it use at a time ("docker run --cpus 2"), rounded up; 0 when
// they set no limit. More threads than that would only be stopped in turn. `root` stands for "/" in tests.
int quota_of_groups(const std::string& root = "");

}  // namespace hearth
