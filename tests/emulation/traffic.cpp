#include "tests/emulation/traffic.h"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <utility>

#include "tests/emulation/device_memory.h"
#include "tests/emulation/settings.h"

namespace hearth::emulation {

namespace {

constexpr uintptr_t kSector = 32, kWord = 4, kBanks = 32;

// Of the lanes first .. first + n - 1 of an access: words that the bank that is asked for most has to give.
int64_t wavefronts(const uintptr_t* address, uint32_t lanes, int first, int n, size_t bytes) {
  uintptr_t words[64];
  int n_words = 0;
  for (int l = first; l < first + n; l++) {
    if (!(lanes >> l & 1)) continue;
    for (uintptr_t w = address[l] / kWord; w <= (address[l] + bytes - 1) / kWord; w++) words[n_words++] = w;
  }
  std::sort(words, words + n_words);
  int64_t of_bank[kBanks] = {};
  for (int i = 0; i < n_words; i++) {
    if (i == 0 || words[i] != words[i - 1]) of_bank[words[i] % kBanks]++;
  }
  return *std::max_element(of_bank, of_bank + kBanks);
}

}  // namespace

void SharedAccesses::add(const SharedAccesses& other) {
  instructions += other.instructions;
  wavefronts += other.wavefronts;
  conflicts += other.conflicts;
}

TrafficWatch::TrafficWatch(std::vector<Region> regions)
    : regions_(std::move(regions)), os_threads_(std::exchange(settings().os_threads, 1)) {
  std::sort(regions_.begin(), regions_.end(), [](const Region& a, const Region& b) { return a.begin < b.begin; });
  current_ = this;
}

TrafficWatch::~TrafficWatch() {
  current_ = nullptr;
  settings().os_threads = os_threads_;
}

std::vector<GridTraffic> TrafficWatch::take() {
  return std::exchange(grids_, {});
}

void TrafficWatch::grid_begins(const char* name, dim3 blocks, dim3 threads, size_t shared_bytes) {
  grids_.push_back({name, blocks, threads, shared_bytes, 0, {}});
}

void TrafficWatch::accessed(int thread, const void* code, const void* p, size_t bytes, bool is_shared, Kind kind) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  if (!is_shared && region_of(address) < 0) return;
  constexpr size_t kMost = 16;  // of one instruction
  for (size_t done = 0; done < bytes; done += kMost) {
    const auto n = uint8_t(std::min(bytes - done, kMost));
    warps_[thread / 32].events[thread % 32].push_back({code, address + done, n, is_shared, kind});
  }
}

// Some lanes of a warp have come to the same place.
void TrafficWatch::met(int warp, uint32_t lanes) {
  Warp& w = warps_[warp];
  std::unordered_map<const void*, std::vector<Instruction>> instructions;  // by place, in order
  std::unordered_map<const void*, size_t> times;
  bool reads = false;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    times.clear();
    for (const Event& event : w.events[lane]) {
      std::vector<Instruction>& here = instructions[event.code];
      const size_t time = times[event.code]++;
      if (time == here.size()) here.push_back({event, 0, {}});
      here[time].lanes |= 1u << lane;
      here[time].address[lane] = event.address;
      reads |= !event.is_shared && event.kind == Kind::load;
    }
    w.events[lane].clear();
  }
  w.steps.reads += reads;
  w.steps.waits += std::exchange(w.waited, false);
  for (const auto& [code, here] : instructions) {
    for (const Instruction& instruction : here) count(instruction);
  }
}

void TrafficWatch::count(const Instruction& instruction) {
  Traffic& traffic = grids_.back().traffic;
  const Event& e = instruction.first;
  if (!e.is_shared) return count_global(instruction, traffic);
  SharedAccesses& to = e.kind == Kind::load      ? traffic.loads
                       : e.kind == Kind::copy_to ? traffic.copies
                       : e.kind == Kind::matrix  ? traffic.matrices
                                                 : traffic.stores;
  const int n = e.bytes <= 4 ? 32 : e.bytes <= 8 ? 16 : 8;
  to.instructions++;
  for (int first = 0; first < 32; first += n) {
    const int64_t here = wavefronts(instruction.address, instruction.lanes, first, n, e.bytes);
    to.wavefronts += here;
    to.conflicts += std::max<int64_t>(here - 1, 0);
  }
}

void TrafficWatch::count_global(const Instruction& instruction, Traffic& traffic) {
  uintptr_t sectors[64];
  int n = 0;
  for (uint32_t rest = instruction.lanes; rest; rest &= rest - 1) {
    const uintptr_t address = instruction.address[std::countr_zero(rest)];
    for (uintptr_t s = address / kSector; s <= (address + instruction.first.bytes - 1) / kSector; s++) sectors[n++] = s;
  }
  std::sort(sectors, sectors + n);
  n = int(std::unique(sectors, sectors + n) - sectors);
  for (int i = 0; i < n; i++) {
    Traffic::Sectors& to = traffic.sectors[region_of(sectors[i] * kSector)];
    if (instruction.first.kind == Kind::store) {
      to.written++;
    } else {
      to.read++;
      to.read_once += seen_.insert(sectors[i]).second;
    }
  }
}

void TrafficWatch::block_ends() {
  GridTraffic& grid = grids_.back();
  for (int w = 0; w < 32; w++) {
    met(w, ~0u);
    const Traffic::Steps steps = std::exchange(warps_[w].steps, {}), &most = grid.traffic.steps;
    if (steps.reads + steps.waits > most.reads + most.waits) grid.traffic.steps = steps;
  }
  grid.blocks_run++;
  seen_.clear();
}

// Its id; negative: none, and nobody's memory. (A sector may begin before the region that the access was to.)
int TrafficWatch::region_of(uintptr_t address) const {
  const auto after = std::upper_bound(regions_.begin(), regions_.end(), address, [](uintptr_t a, const Region& r) {
    return a < reinterpret_cast<uintptr_t>(r.begin);
  });
  if (after != regions_.begin()) {
    const Region& region = *std::prev(after);
    if (address - reinterpret_cast<uintptr_t>(region.begin) < region.bytes) return region.id;
  }
  return DeviceMemory::get().owns(reinterpret_cast<const void*>(address)) ? 0 : -1;
}

}  // namespace hearth::emulation
