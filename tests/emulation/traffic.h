// Counts what a grid does to memory, as a GPU's own counters would: wavefronts of shared memory and their conflicts,
// sectors of global memory, products on tensor cores, and the steps that have to wait for one another.
//
// Who sees the accesses: as for races (race_check.h), kernels that were compiled with -fsanitize=thread and linked with
// race_hooks.cpp. What lanes of a warp do at one place of the code, the n-th time each since they last met, is one
// instruction. Registers and arguments are nobody's memory and not counted. Nor is what the compiler of the GPU makes
// of it: how many instructions that are, is counted in its code (tests/kernels/cuda/counts).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

namespace hearth::emulation {

// Accesses of warps to shared memory. A wavefront is what the 32 banks, each of which gives one word of 4 bytes at a
// time, serve at once: of accesses of 8 bytes a half warp, of 16 bytes a quarter.
struct SharedAccesses {
  int64_t instructions = 0;
  int64_t wavefronts = 0;
  int64_t conflicts = 0;  // wavefronts that would not be, if no bank were asked for two words

  void add(const SharedAccesses& other);
};

// Of the blocks that ran.
struct Traffic {
  SharedAccesses loads, stores, copies, matrices;  // copies: cp.async; matrices: ldmatrix
  int64_t products = 0;                            // mma instructions of warps
  int64_t barriers = 0;                            // that a block met at, once for all its threads
  // 32 bytes each of global memory, by region (watch_traffic): those that instructions asked for, and those of them
  // that are different within a block.
  struct Sectors {
    int64_t read = 0, read_once = 0, written = 0;
  };
  std::map<int, Sectors> sectors;
  // Of the block in which they are most together, and there of the warp: times that it read global memory between two
  // places where its lanes meet, and that it waited for copies. At least so often something that is far away must come.
  struct Steps {
    int64_t reads = 0, waits = 0;
  } steps;

  int64_t wavefronts() const { return loads.wavefronts + stores.wavefronts + copies.wavefronts + matrices.wavefronts; }
};

struct GridTraffic {
  std::string name;
  dim3 blocks, threads;
  size_t shared_bytes = 0;  // dynamic
  int64_t blocks_run = 0;   // settings().sampled_blocks may leave most out
  Traffic traffic;
};

// Memory of the host's that counts as the device's, and what `Traffic::sectors` calls it; 0 is the rest of the
// device's memory.
struct Region {
  const void* begin;
  size_t bytes;
  int id;
};

// While one lives, grids are counted; one OS thread runs all blocks. One at a time.
class TrafficWatch {
 public:
  explicit TrafficWatch(std::vector<Region> regions = {});
  ~TrafficWatch();
  TrafficWatch(const TrafficWatch&) = delete;
  TrafficWatch& operator=(const TrafficWatch&) = delete;

  std::vector<GridTraffic> take();  // of the grids that ran since the last call

  // For the emulation.
  enum class Kind : uint8_t { load, store, copy_to, copy_from, matrix };
  static TrafficWatch* current() { return current_; }
  void grid_begins(const char* name, dim3 blocks, dim3 threads, size_t shared_bytes);
  void accessed(int thread, const void* code, const void* p, size_t bytes, bool is_shared, Kind kind);
  void waited(int thread) { warps_[size_t(thread) / 32].waited = true; }
  void passed_barrier() { grids_.back().traffic.barriers++; }
  void multiplied() { grids_.back().traffic.products++; }
  void met(int warp, uint32_t lanes);
  void block_ends();

 private:
  struct Event {
    const void* code;
    uintptr_t address;
    uint8_t bytes;
    bool is_shared;
    Kind kind;
  };
  struct Warp {
    std::vector<Event> events[32];  // since the lane last met others
    bool waited = false;
    Traffic::Steps steps;
  };
  struct Instruction {
    Event first;
    uint32_t lanes = 0;
    uintptr_t address[32];
  };
  static inline TrafficWatch* current_ = nullptr;

  int region_of(uintptr_t address) const;
  void count(const Instruction& instruction);
  void count_global(const Instruction& instruction, Traffic& traffic);

  std::vector<Region> regions_;
  int os_threads_;
  std::vector<GridTraffic> grids_;
  Warp warps_[32];
  std::unordered_set<uintptr_t> seen_;  // sectors that the block has read
};

}  // namespace hearth::emulation
