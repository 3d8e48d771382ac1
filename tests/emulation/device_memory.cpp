#include "tests/emulation/device_memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "tests/emulation/block.h"
#include "tests/emulation/fiber.h"
#include "tests/emulation/settings.h"

#if HEARTH_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

namespace hearth::emulation {

namespace {

constexpr size_t kRange = size_t(1) << 40;  // addresses only
constexpr size_t kAlign = 256, kPage = 4096;
constexpr size_t kFilled = size_t(256) << 20;

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

// An allocation's bytes and the untouchable ones behind it.
size_t extent(size_t bytes) {
  return round_up(bytes, kAlign) + kAlign;
}

bool within(const std::map<uintptr_t, size_t>& ranges, const void* p, size_t bytes) {
  auto after = ranges.upper_bound(reinterpret_cast<uintptr_t>(p));
  if (after == ranges.begin()) return false;
  const auto& [start, size] = *std::prev(after);
  const size_t offset = reinterpret_cast<uintptr_t>(p) - start;
  return offset <= size && bytes <= size - offset;
}

char* addresses(int access) {
  void* const p = mmap(nullptr, kRange, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    std::perror("CUDA emulation: no addresses for device memory");
    std::abort();
  }
  return static_cast<char*>(p);
}

// Gives whole pages within a range back; they become zeros. The first of them, and the end of the last.
std::pair<char*, char*> give_back_pages(char* p, size_t bytes) {
  char* const first = p + (round_up(reinterpret_cast<uintptr_t>(p), kPage) - reinterpret_cast<uintptr_t>(p));
  char* const end = p + bytes - (reinterpret_cast<uintptr_t>(p) + bytes) % kPage;
  if (end <= first) return {p, p};
  madvise(first, size_t(end - first), MADV_DONTNEED);
  return {first, end};
}

void on_signal(int signal, siginfo_t* info, void*) {
  DeviceMemory::on_fault(signal, info->si_addr);
}

// Faults of memory, and what code that checks for undefined behaviour ends with.
constexpr int kSignals[] = {SIGSEGV, SIGILL};
struct sigaction previous_actions[std::size(kSignals)];

// Again and again, since test frameworks and sanitizers install handlers of their own, which then come after this one.
void listen_to_faults() {
  struct sigaction action {
  }, before{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], &action, &before);
    if (before.sa_sigaction != on_signal) previous_actions[i] = before;
  }
}

}  // namespace

DeviceMemory& DeviceMemory::get() {
  static DeviceMemory& memory = *new DeviceMemory;  // outlives everything that holds device memory
  return memory;
}

DeviceMemory::DeviceMemory() {
  base_ = addresses(PROT_NONE);
  madvise(base_, kRange, MADV_HUGEPAGE);  // it is opened and closed for each kernel, page by page
  if (race_check) by_kernel_ = addresses(PROT_READ | PROT_WRITE);
  used_ = kPage;  // so that reading before the first allocation fails too

  static char stack[64 * 1024];
  const stack_t alternative{stack, 0, sizeof stack};
  sigaltstack(&alternative, nullptr);
}

// Says what it can about a fault, then lets it happen again as if nobody had listened.
void DeviceMemory::on_fault(int signal, void* address) {
  const DeviceMemory& memory = get();
  const std::string kernel = Block::running_place();
  std::string text;
  if (signal == SIGILL) {
    if (!kernel.empty()) text = kernel + " has undefined behaviour: an index out of bounds or a shift too far";
  } else if (memory.owns(address)) {
    text = kernel.empty() ? memory.open_ ? "a copy" : "host code" : kernel;
    text += " touched device memory ";
    text += within(memory.allocations_, address, 1) ? "while no kernel and no copy ran; host code must copy it"
                                                    : "that is not allocated";
  } else if (!kernel.empty()) {
    text = kernel + " touched memory that is not the device's, or ran out of stack";
  }
  if (!text.empty()) std::fprintf(stderr, "CUDA emulation: %s (address %p)\n", text.c_str(), address);
  static bool again = false;
  struct sigaction fatal {};
  fatal.sa_handler = SIG_DFL;
  const auto which = size_t(std::ranges::find(kSignals, signal) - kSignals);
  sigaction(signal, again ? &fatal : &previous_actions[which], nullptr);
  again = true;
}

void* DeviceMemory::allocate(size_t bytes) {
  if (bytes > settings().memory || extent(bytes) > free()) return nullptr;
  char* p = nullptr;
  for (auto& [start, size] : gaps_) {
    if (size < extent(bytes)) continue;
    p = reinterpret_cast<char*>(start);
    const size_t rest = size - extent(bytes);
    gaps_.erase(start);
    if (rest) gaps_[reinterpret_cast<uintptr_t>(p) + extent(bytes)] = rest;
    break;
  }
  if (!p) {
    if (used_ + extent(bytes) > kRange) return nullptr;
    p = base_ + used_;
    used_ += extent(bytes);
    if (open_) protect(PROT_READ | PROT_WRITE);
  }
  allocations_[reinterpret_cast<uintptr_t>(p)] = bytes;
  ++changes_;
  allocated_ += extent(bytes);
  ASAN_UNPOISON_MEMORY_REGION(p, bytes);
  ASAN_POISON_MEMORY_REGION(p + bytes, extent(bytes) - bytes);
  if (bytes <= kFilled) {
    const Open opened;
    std::memset(p, 0xff, bytes);
  }
  return p;
}

bool DeviceMemory::release(void* p) {
  const auto found = allocations_.find(reinterpret_cast<uintptr_t>(p));
  if (found == allocations_.end()) return false;
  uintptr_t start = found->first;
  size_t size = extent(found->second);
  allocations_.erase(found);
  ++changes_;
  allocated_ -= size;
  ASAN_POISON_MEMORY_REGION(p, size);
  give_back_pages(static_cast<char*>(p), size);
  written_otherwise(p, size);
  const auto next = gaps_.find(start + size);
  if (next != gaps_.end()) {
    size += next->second;
    gaps_.erase(next);
  }
  const auto after = gaps_.upper_bound(start);
  if (after != gaps_.begin() && std::prev(after)->first + std::prev(after)->second == start) {
    std::prev(after)->second += size;
  } else {
    gaps_[start] = size;
  }
  return true;
}

size_t DeviceMemory::free() const {
  return settings().memory - std::min(settings().memory, settings().others + allocated_);
}

bool DeviceMemory::take(size_t bytes) {
  if (bytes > free()) return false;
  allocated_ += bytes;
  return true;
}

bool DeviceMemory::owns(const void* p) const {
  return p >= base_ && p < base_ + kRange;
}

bool DeviceMemory::holds(const void* p, size_t bytes) const {
  return within(allocations_, p, bytes);
}

bool DeviceMemory::kernel_may_touch(const void* p, size_t bytes) const {
  struct Recent {  // allocations of the last accesses: a kernel goes back and forth between a few
    uint64_t changes = 0;
    std::array<std::pair<uintptr_t, uintptr_t>, 4> ranges = {};
    size_t oldest = 0;
  };
  thread_local Recent recent;
  if (recent.changes != changes_) recent = {.changes = changes_};
  const auto first = reinterpret_cast<uintptr_t>(p);
  for (const auto& [begin, end] : recent.ranges) {
    if (begin <= first && first + bytes <= end) return true;
  }
  const auto after = allocations_.upper_bound(first);
  if (after == allocations_.begin()) return false;
  const auto& [begin, size] = *std::prev(after);
  if (first + bytes > begin + size) return false;
  recent.ranges[recent.oldest++ % recent.ranges.size()] = {begin, begin + size};
  return true;
}

void DeviceMemory::written_by_kernel(const void* p, size_t bytes) {
  std::memset(by_kernel_ + (static_cast<const char*>(p) - base_), 1, bytes);
}

void DeviceMemory::written_otherwise(const void* p, size_t bytes) {
  if (!by_kernel_) return;
  char* const marks = by_kernel_ + (static_cast<const char*>(p) - base_);
  const auto [first, end] = give_back_pages(marks, bytes);
  std::memset(marks, 0, size_t(first - marks));
  std::memset(end, 0, size_t(marks + bytes - end));
}

bool DeviceMemory::kernel_wrote(const void* p, size_t bytes) const {
  return std::memchr(by_kernel_ + (static_cast<const char*>(p) - base_), 1, bytes) != nullptr;
}

void DeviceMemory::open() {
  if (open_++ == 0) protect(PROT_READ | PROT_WRITE);
}

void DeviceMemory::close() {
  if (--open_ > 0) return;
  protect(PROT_NONE);
  listen_to_faults();
}

DeviceMemory::Shut::Shut() : open_(std::exchange(get().open_, 0)) {
  if (open_) get().protect(PROT_NONE);
}

DeviceMemory::Shut::~Shut() {
  get().open_ = open_;
  if (open_) get().protect(PROT_READ | PROT_WRITE);
}

void DeviceMemory::protect(int access) {
  if (mprotect(base_, round_up(used_, kPage), access)) {
    std::perror("CUDA emulation: device memory");
    std::abort();
  }
}

PinnedMemory& PinnedMemory::get() {
  static PinnedMemory& memory = *new PinnedMemory;
  return memory;
}

void* PinnedMemory::allocate(size_t bytes) {
  void* const p = std::aligned_alloc(kPage, round_up(std::max<size_t>(bytes, 1), kPage));
  if (!p) return nullptr;
  std::memset(p, 0xff, std::min(bytes, kFilled));
  allocated_[reinterpret_cast<uintptr_t>(p)] = bytes;
  return p;
}

bool PinnedMemory::release(void* p) {
  if (!allocated_.erase(reinterpret_cast<uintptr_t>(p))) return false;
  std::free(p);
  return true;
}

size_t PinnedMemory::allocated() const {
  size_t bytes = 0;
  for (const auto& [start, size] : allocated_) bytes += size;
  return bytes;
}

bool PinnedMemory::add(void* p, size_t bytes) {
  return registered_.emplace(reinterpret_cast<uintptr_t>(p), bytes).second;
}

bool PinnedMemory::remove(void* p) {
  return registered_.erase(reinterpret_cast<uintptr_t>(p)) > 0;
}

bool PinnedMemory::holds(const void* p, size_t bytes) const {
  return within(allocated_, p, bytes) || within(registered_, p, bytes);
}

}  // namespace hearth::emulation
