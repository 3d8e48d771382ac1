// What a machine can hold and how fast it moves bytes: what placement and the simulator calculate with.
#pragma once

#include <cstdint>

namespace hearth {

struct Machine {
  uint64_t vram = 0, ram = 0;  // bytes that may be used; vram 0: no GPU
  // Bytes/s: of the GPU's memory, of the host's as the CPU's kernels read it, from the host to the GPU, and of the
  // disk; 0: not known.
  double vram_bandwidth = 0, ram_bandwidth = 0, pcie_bandwidth = 0, disk_bandwidth = 0;
};

}  // namespace hearth
