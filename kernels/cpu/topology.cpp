#include "kernels/cpu/topology.h"

#include <sched.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <set>

#include "quant/control_group.h"

namespace hearth {

int count_cores(const std::string& sysfs, const std::vector<int>& cpus) {
  std::set<std::string> cores;
  for (const int cpu : cpus) {
    const std::string own = std::to_string(cpu);
    // The list of hardware threads of this CPU's core ("0,32" or "0-1") names the core.
    std::ifstream file(sysfs + "/cpu" + own + "/topology/thread_siblings_list");
    std::string siblings;
    cores.insert(std::getline(file, siblings) && !siblings.empty() ? siblings : own);
  }
  return int(cores.size());
}

std::vector<int> allowed_cpus() {
  // The kernel's mask may be wider than the 1024 bits of cpu_set_t; sched_getaffinity then fails with EINVAL.
  for (int size = CPU_SETSIZE; size <= 1 << 16; size *= 2) {
    cpu_set_t* set = CPU_ALLOC(size);
    if (!set) return {};
    std::vector<int> cpus;
    const bool ok = sched_getaffinity(0, CPU_ALLOC_SIZE(size), set) == 0;
    for (int cpu = 0; ok && cpu < size; ++cpu) {
      if (CPU_ISSET_S(cpu, CPU_ALLOC_SIZE(size), set)) cpus.push_back(cpu);
    }
    CPU_FREE(set);
    if (ok) return cpus;
  }
  return {};
}

int quota_of_groups(const std::string& root) {
  double least = std::numeric_limits<double>::infinity();
  for (const ControlGroup& group : control_groups(root, "cpu")) {
    // Microseconds of processor time, and of the period in which they may be used: "200000 100000", in version 1 a file
    // for each. "max" or -1 means no limit.
    double quota = 0, period = 0;
    if (group.version_1) {
      std::ifstream(group.folder + "/cpu.cfs_quota_us") >> quota;
      std::ifstream(group.folder + "/cpu.cfs_period_us") >> period;
    } else {
      std::ifstream(group.folder + "/cpu.max") >> quota >> period;
    }
    if (quota > 0 && period > 0) least = std::min(least, quota / period);
  }
  return std::isinf(least) ? 0 : int(std::ceil(least));
}

}  // namespace hearth
