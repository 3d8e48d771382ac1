// Whether a model fits into this machine's memory, and what to expect where it does not: it runs all the same, from the
// mapped file, but what does not fit comes from the disk again and again.
#pragma once

#include <cstdint>
#include <string>

namespace hearth {

// Bytes that this process may still fill, the page cache included: what the system calls available, or the limit of its
// control group (version 1 or 2) or of one above, where that is less. 0: the system does not say. `root` stands for "/"
// in tests.
uint64_t usable_memory(const std::string& root = "");

// Bytes of memory that the machine has; 0: the system does not say.
uint64_t total_memory(const std::string& root = "");

// Bytes that this process has had read from disk so far, pages of mapped files included; 0: the system does not say.
uint64_t bytes_from_disk(const std::string& root = "");

struct MemoryNeed {
  uint64_t weights = 0;         // of the mapped file
  uint64_t active_weights = 0;  // of those, read for one token
  uint64_t working = 0;         // everything that is not mapped: caches when full, activations, scratch
};

// One line for people when `need` is more than `usable`; empty when it fits or when `usable` is unknown (0). The rate
// is that of reading the missing share of a token's weights: which experts a token uses hardly depends on the last
// one's, so the share of them that is in memory is the share of the file that is.
std::string memory_advice(const MemoryNeed& need, uint64_t usable);

}  // namespace hearth
