// The emulated device's memory, and the host's pinned memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace hearth::emulation {

// One range of addresses. While it is closed, that is while no kernel and no copy runs, nothing in it can be read or
// written: host code that follows a device pointer faults, as it does with a GPU, and is told so.
class DeviceMemory {
 public:
  static DeviceMemory& get();

  // Aligned to 256, filled with 0xFF bytes (up to 256 MiB; more would only cost time). Null: not so much is free.
  void* allocate(size_t bytes);
  bool release(void* p);
  size_t free() const;  // bytes, with the untouchable ones behind an allocation
  // What the driver takes for itself. False: not so much is free.
  bool take(size_t bytes);
  void give_back(size_t bytes) { allocated_ -= bytes; }

  // Whether p is in the range at all, and whether `bytes` from it on belong to one allocation.
  bool owns(const void* p) const;
  bool holds(const void* p, size_t bytes) const;
  // The same, quickly, for a kernel that asks at each access.
  bool kernel_may_touch(const void* p, size_t bytes) const;

  // Which bytes a kernel was the last to write: known where accesses are (race_check.h).
  void written_by_kernel(const void* p, size_t bytes);
  void written_otherwise(const void* p, size_t bytes);  // by a copy
  bool kernel_wrote(const void* p, size_t bytes) const;

  static void on_fault(int signal, void* address);

  // Open between construction and destruction. Nests.
  class Open {
   public:
    Open() { get().open(); }
    ~Open() { get().close(); }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;
  };
  // Closed between construction and destruction, within an Open.
  class Shut {
   public:
    Shut();
    ~Shut();
    Shut(const Shut&) = delete;
    Shut& operator=(const Shut&) = delete;

   private:
    int open_;
  };

 private:
  DeviceMemory();
  void open();
  void close();
  void protect(int access);

  char* base_ = nullptr;
  char* by_kernel_ = nullptr;  // for each byte whether a kernel wrote it last; null: no accesses are known
  size_t used_ = 0;            // high water
  size_t allocated_ = 0;
  uint64_t changes_ = 0;  // of allocations_
  int open_ = 0;
  std::map<uintptr_t, size_t> allocations_;  // address, bytes
  std::map<uintptr_t, size_t> gaps_;         // released: address, bytes with the space behind
};

// Memory that copies may read and write while the host does something else.
class PinnedMemory {
 public:
  static PinnedMemory& get();
  void* allocate(size_t bytes);
  bool release(void* p);
  bool add(void* p, size_t bytes);  // cudaHostRegister
  bool remove(void* p);
  bool holds(const void* p, size_t bytes) const;
  size_t allocated() const;  // bytes, by `allocate`

 private:
  std::map<uintptr_t, size_t> allocated_, registered_;
};

}  // namespace hearth::emulation
