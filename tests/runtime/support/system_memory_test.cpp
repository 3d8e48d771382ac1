#include "runtime/support/system_memory.h"

#include <doctest/doctest.h>

#include <fstream>

#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr uint64_t GB = 1'000'000'000;

// A root folder as the system would show it.
class Root {
 public:
  explicit Root(uint64_t available_kb) {
    write("proc/meminfo", "MemTotal:       65536000 kB\nMemFree:         1000000 kB\nMemAvailable:   " +
                              std::to_string(available_kb) + " kB\nBuffers:              7 kB\n");
  }
  Root& write(const std::string& name, const std::string& text) {
    const fs::path path = dir_.path() / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return *this;
  }
  std::string path() const { return dir_.path().string(); }
  uint64_t usable() const { return usable_memory(path()); }

 private:
  TempDir dir_;
};

}  // namespace

TEST_CASE("memory: what is available, or what the control groups leave of it") {
  CHECK(Root(1000).usable() == 1'024'000);
  CHECK(Root(1000).write("proc/self/cgroup", "0::/\n").usable() == 1'024'000);  // no limit anywhere
  CHECK(Root(1000)
            .write("proc/self/cgroup", "0::/user/job\n")
            .write("sys/fs/cgroup/user/job/memory.max", "max\n")
            .usable() == 1'024'000);
  CHECK(Root(1000)
            .write("proc/self/cgroup", "0::/user/job\n")
            .write("sys/fs/cgroup/user/job/memory.max", "500000\n")
            .usable() == 500'000);
  CHECK(Root(1000)  // a group above allows less
            .write("proc/self/cgroup", "0::/user/job\n")
            .write("sys/fs/cgroup/user/job/memory.max", "500000\n")
            .write("sys/fs/cgroup/user/memory.max", "400000\n")
            .usable() == 400'000);
  CHECK(Root(1000)  // inside a container its own group is the root
            .write("proc/self/cgroup", "0::/\n")
            .write("sys/fs/cgroup/memory.max", "300000\n")
            .usable() == 300'000);
  CHECK(Root(1000)  // version 1: other controllers' groups do not count
            .write("proc/self/cgroup", "9:cpu,cpuacct:/c\n4:memory:/a\n0::/\n")
            .write("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "100000\n")
            .write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "200000\n")
            .usable() == 200'000);
  CHECK(usable_memory("/nonexistent") == 0);
  CHECK(Root(1000).write("proc/self/cgroup", "nonsense\n0:\n::\n").usable() == 1'024'000);
}

TEST_CASE("memory: this machine says what it has") {
  CHECK(usable_memory() > GB / 16);
  CHECK(usable_memory() < uint64_t(1) << 50);
}

TEST_CASE("memory: all of it, and what this process has had read from disk, as the system says") {
  Root root(1000);
  CHECK(bytes_from_disk(root.path()) == 0);
  root.write("proc/self/io", "rchar: 5\nwchar: 6\nread_bytes: 4096\nwrite_bytes: 7\n");
  CHECK(bytes_from_disk(root.path()) == 4096);
  root.write("proc/meminfo", "MemTotal:       65536000 kB\nMemAvailable:   1 kB\n");
  CHECK(total_memory(root.path()) == uint64_t(65536000) * 1024);
}

TEST_CASE("memory: what fits needs no advice") {
  CHECK(memory_advice({10 * GB, 2 * GB, GB}, 11 * GB) == "");
  CHECK(memory_advice({10 * GB, 2 * GB, GB}, 64 * GB) == "");
  CHECK(memory_advice({10 * GB, 2 * GB, GB}, 0) == "");  // unknown
}

TEST_CASE("memory: what does not fit is read again in its share of every token") {
  // 24 of 96 GB are in memory beside 2 GB of working memory: three quarters of each token's 8 GB are missing.
  CHECK(
      memory_advice({96 * GB, 8 * GB, 2 * GB}, 26 * GB) ==
      "96.0 GB of weights and 2.00 GB of working memory do not fit into 26.0 GB of free memory: about 6.00 GB are read "
      "from disk for every token, so expect at most 0.17 tok/s for each GB/s that the disk reads");
  // The working memory alone is too much: nothing stays.
  CHECK(
      memory_advice({400 * GB, 20 * GB, 10 * GB}, 8 * GB) ==
      "400 GB of weights and 10.0 GB of working memory do not fit into 8.00 GB of free memory: about 20.0 GB are read "
      "from disk for every token, so expect at most 0.05 tok/s for each GB/s that the disk reads");
  // A byte too much is said, and the figure is finite.
  const std::string barely = memory_advice({10 * GB, 2 * GB, 0}, 10 * GB - 1);
  CHECK(barely.find("10.0 GB of weights") == 0);
  CHECK(barely.find("inf") == std::string::npos);
}
