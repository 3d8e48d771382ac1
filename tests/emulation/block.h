// Runs the blocks of a grid: one fiber per thread, one block at a time on one OS thread.
//
// A thread runs until it waits (at a barrier, or in a warp operation whose other lanes are not there yet); then the
// schedule says who goes on, and the fiber switches straight to that one. A thread that ends without waiting leaves its
// fiber to the next, so that a block without barriers needs one stack and no switches.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/emulation/fiber.h"
#include "tests/emulation/race_check.h"
#include "tests/emulation/settings.h"
#include "tests/emulation/shared_memory.h"

namespace hearth::emulation {

struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes = 0;
  const std::function<void()>* body = nullptr;
  const char* name = "";
  bool early = false;  // may begin before earlier launches are complete
};

// Empty, or what went wrong first.
std::string run_grid(const Grid& grid);

class Block {
 public:
  Block();
  ~Block();
  // The block that this OS thread is running, where it is inside a kernel.
  static Block& current();

  // Kernel, block and thread that run on this OS thread; empty outside of kernels.
  static std::string running_place();

  void prepare(const Grid& grid);
  std::string run(uint3 index);

  // For the running thread. Ends the block; the grid's launch fails.
  // `what` is emptied: the stack that it came from is left as it is, with whatever it owns.
  [[noreturn]] void fail(std::string&& what, Where where);
  [[noreturn]] void fail(std::string&& what);  // the line is not known
  void wait_for_earlier() { threads_[running_].waited = waited_ = true; }
  // What is wrong with an access to global memory by the running thread, if it has not waited for earlier launches.
  std::string access_before_wait(const void* p, size_t bytes, bool writes) const;
  void barrier(Where where);
  // The barrier, and how many of those who came to it brought a predicate that holds.
  int count(bool predicate, Where where);
  // Waits until all `lanes` that are alive have come with the same operation. The last one runs it for all of them:
  // posts[l] is what lane l brought, for the lanes in the second argument.
  using Operation = void (*)(Block& block, void* const* posts, uint32_t lanes);
  void warp_operation(uint32_t lanes, void* post, Operation operation, Where where);
  uint32_t active_lanes() const { return warps_[running_ / 32].alive; }

  SharedMemory shared;
  RaceCheck races;
  int running_thread() const { return running_; }
  AsyncCopies& copies() { return threads_[running_].copies; }

 private:
  struct Thread {
    uint3 index{};
    Fiber* fiber = nullptr;  // null: not started, or done
    AsyncCopies copies;
    bool waited = false;  // for earlier launches; true where the grid began after them
  };
  struct Call {  // of a warp operation
    uint32_t lanes;
    Operation operation;
    Where where;
    bool is(const Call& other) const;
  };
  struct Warp {
    uint32_t alive, ready, waiting;  // a bit per lane; waiting: in a warp operation
    bool agreed;                     // all who wait have made the same call, the first one's
    Call first;
    void* posts[32];
    Call calls[32];
    Where where[32];  // each lane's last barrier or call
  };

  static void fiber_main();
  void run_threads();
  int next();
  int next_in_order();
  int next_greedy();
  bool all_stuck();
  void go_on_with(int thread, Fiber& from);
  void give_way();
  void finish_thread();
  bool complete_operation(int thread);
  Where& where_of(int thread) { return warps_[thread / 32].where[thread % 32]; }
  const Where& where_of(int thread) const { return warps_[thread / 32].where[thread % 32]; }
  std::string place_of_failure() const;
  [[noreturn]] void leave();
  std::string deadlock() const;

  Grid grid_;
  Settings settings_;
  int n_threads_ = 0, n_warps_ = 0;
  uint3 index_{};
  std::unique_ptr<Thread[]> threads_;
  Warp warps_[32];
  int running_ = 0;
  bool waited_ = false;  // whether any thread has
  int n_alive_ = 0, n_ready_ = 0, n_at_barrier_ = 0;
  int n_true_ = 0, counted_ = 0;  // of those at the barrier, and at the last that opened
  Where barrier_;
  std::vector<int> order_;  // of threads, or of warps where the schedule is greedy
  size_t cursor_ = 0;
  std::mt19937_64 random_;
  std::string error_;

  Fiber main_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> free_fibers_;
};

}  // namespace hearth::emulation
