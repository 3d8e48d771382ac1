// How the emulated GPU behaves. Tests change it between launches; programs are steered by the environment:
//   HEARTH_EMULATED_GPU=memory=512M,schedule=random,seed=7,queue=random,copies=eager,fail_allocation=3
// Words: memory, gpus, large_gpu, capability (75 is compute capability 7.5), schedule (forward, reverse, random,
// greedy), seed, queue (in_order, random), copies (lazy, eager), threads, fail_allocation, fail_copy, fail_launch,
// fail_recording, driver (none, old),
// tensor_core (in_order, hopper, ampere), others, others_later, lockable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/emulation/instructions.h"

namespace hearth::emulation {

// In which order the threads of a block take turns. A thread's turn lasts until it waits for others.
enum class Schedule {
  forward,  // one turn each, first to last, again and again
  reverse,  // last to first
  random,   // in an order that is drawn for every round
  greedy,   // a warp has turns until none of its threads can go on, then another; drawn where the seed is not 0
};

struct Settings {
  instructions::TensorCore tensor_core = instructions::TensorCore::in_order;
  Schedule schedule = Schedule::greedy;
  uint64_t seed = 0;
  bool eager_copies = false;        // cp.async lands when it is issued, instead of when it is waited for
  bool random_queue = false;        // what streams and graphs leave open is drawn, instead of in order of submission
  size_t sampled_blocks = 0;        // of each grid no more than so many run, evenly spread; 0: all do
  int os_threads = 4;               // that share the blocks of a large grid; no more than the machine has
  size_t memory = size_t(8) << 30;  // of the device, bytes
  // How many GPUs there are, and which of them has that memory: the others have half. (They share what is taken.)
  int gpus = 1, large_gpu = 0;
  int multiprocessors = 4;  // few, so that kernels that size their grid by it make short work
  int capability = 89;      // compute capability: 10 times the major number, and the minor one
  // The n-th from now fails; 0: none does. An allocation for want of memory, the others as by a broken device.
  int64_t fail_allocation = 0, fail_copy = 0, fail_launch = 0;
  // The n-th call from now that begins or ends a recording or makes a graph of it fails for want of memory; the device
  // is well.
  int64_t fail_recording = 0;
  int driver = 13000;                   // the CUDA version that it is for: 12020 is 12.2; 0: there is no driver
  size_t others = 0, others_later = 0;  // bytes that other programs hold, and take once this one has looked
  size_t lockable = size_t(-1);         // bytes of the host's memory that may be page-locked
};

Settings& settings();

// What went wrong in a kernel: name, block, thread, line. Empty: nothing yet.
std::string last_failure();

// What the program has asked of the runtime so far.
struct RuntimeCalls {
  int64_t allocations = 0, frees = 0;  // of device memory and of page-locked memory
  int64_t waits = 0;                   // for a stream, an event, the device, or a copy that is over when it returns
  int64_t graphs = 0;                  // instantiated
  int64_t calls = 0;                   // of any function of the runtime
  // Of graphs that were launched, and queued by themselves:
  int64_t kernels = 0, copies = 0;
};
RuntimeCalls& runtime_calls();

// The next test starts with a healthy device: forgets failures and what is still queued. Memory stays allocated.
void reset();

}  // namespace hearth::emulation
