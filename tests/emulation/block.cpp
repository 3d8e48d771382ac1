#include "tests/emulation/block.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "tests/emulation/device_memory.h"
#include "tests/emulation/traffic.h"

namespace hearth::emulation {

constinit thread_local Place place;

namespace {

constinit thread_local Block* current_block = nullptr;

bool same_line(Where a, Where b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string line_of(Where where) {
  std::string file = where.file;
  file.erase(0, file.rfind('/') + 1);
  return file + ":" + std::to_string(where.line);
}

std::string triple(uint3 v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}

}  // namespace

Block::Block() : threads_(new Thread[1024]) {}
Block::~Block() = default;

Block& Block::current() {
  return *current_block;
}

std::string Block::running_place() {
  return current_block ? current_block->place_of_failure() : "";
}

void Block::prepare(const Grid& grid) {
  grid_ = grid;
  main_.reset();
  settings_ = settings();
  const dim3 size = grid.threads;
  n_threads_ = int(size.x * size.y * size.z);
  n_warps_ = (n_threads_ + 31) / 32;
  for (int i = 0; i < n_threads_; i++) {
    where_of(i) = {};
    threads_[i].index = {unsigned(i) % size.x, unsigned(i) / size.x % size.y, unsigned(i) / (size.x * size.y)};
  }
  order_.resize(settings_.schedule == Schedule::greedy ? n_warps_ : n_threads_);
  std::iota(order_.begin(), order_.end(), 0);
  if (settings_.schedule == Schedule::reverse) std::reverse(order_.begin(), order_.end());
}

std::string Block::run(uint3 index) {
  index_ = index;
  n_alive_ = n_ready_ = n_threads_;
  n_at_barrier_ = n_true_ = 0;
  cursor_ = 0;
  error_.clear();
  for (int w = 0; w < n_warps_; w++) {
    const int lanes = std::min(32, n_threads_ - 32 * w);
    warps_[w].alive = warps_[w].ready = lanes == 32 ? ~0u : (1u << lanes) - 1;
    warps_[w].waiting = 0;
  }
  for (int i = 0; i < n_threads_; i++) threads_[i].waited = !grid_.early;
  waited_ = !grid_.early;
  const bool drawn =
      settings_.schedule == Schedule::random || (settings_.schedule == Schedule::greedy && settings_.seed);
  if (drawn) {
    random_.seed(settings_.seed + 0x9e3779b97f4a7c15 * (index.x + 1) + 131 * index.y + 7919 * index.z);
    std::shuffle(order_.begin(), order_.end(), random_);
  }
  shared.begin_block(grid_.shared_bytes);
  if (race_check) races.begin_block(SharedMemory::kArena);
  place = {{}, index, grid_.threads, grid_.blocks};
  current_block = this;
  go_on_with(next(), main_);
  current_block = nullptr;
  if (TrafficWatch* const watch = TrafficWatch::current()) watch->block_ends();
  if (error_.empty() && !waited_) {
    error_ = std::string("kernel ") + grid_.name + ", block " + triple(index_) +
             ": may begin early, and has ended without waiting for earlier launches";
  }
  if (!error_.empty()) {  // threads were left where they were
    free_fibers_.clear();
    for (auto& fiber : fibers_) {
      fiber->reset();
      free_fibers_.push_back(fiber.get());
    }
    for (int i = 0; i < n_threads_; i++) {
      threads_[i].fiber = nullptr;
      threads_[i].copies.clear();
    }
  }
  return error_;
}

// ---- Whose turn it is

// The thread that goes on, or -1: all are done, or none can.
int Block::next() {
  if (n_ready_ == 0 && all_stuck()) return -1;
  return settings_.schedule == Schedule::greedy ? next_greedy() : next_in_order();
}

int Block::next_in_order() {
  for (;; cursor_ = 0) {
    while (cursor_ < order_.size()) {
      const int i = order_[cursor_++];
      if (warps_[i / 32].ready >> (i % 32) & 1) return i;
    }
    if (settings_.schedule == Schedule::random) std::shuffle(order_.begin(), order_.end(), random_);
  }
}

int Block::next_greedy() {
  while (!warps_[order_[cursor_]].ready) cursor_ = (cursor_ + 1) % order_.size();
  const int w = order_[cursor_];
  return 32 * w + std::countr_zero(warps_[w].ready);
}

// Nobody is ready: opens the barrier if all are there.
bool Block::all_stuck() {
  if (n_alive_ == 0) return true;
  if (n_at_barrier_ < n_alive_) {
    error_ = deadlock();
    return true;
  }
  for (int w = 0; w < n_warps_; w++) warps_[w].ready = warps_[w].alive;
  n_ready_ = n_alive_;
  n_at_barrier_ = 0;
  counted_ = std::exchange(n_true_, 0);
  cursor_ = 0;
  races.barrier();
  if (TrafficWatch* const watch = TrafficWatch::current()) {
    for (int w = 0; w < n_warps_; w++) watch->met(w, ~0u);
    watch->passed_barrier();
  }
  return false;
}

// Leaves the fiber `from` for that of `thread`, which may have to be started; -1: for the stack that run() was called
// on. Returns when somebody switches back to `from`.
void Block::go_on_with(int thread, Fiber& from) {
  Fiber* to = &main_;
  if (thread >= 0) {
    running_ = thread;
    Thread& t = threads_[thread];
    place.thread = t.index;
    if (!t.fiber) {
      if (free_fibers_.empty()) {
        fibers_.push_back(std::make_unique<Fiber>(&Block::fiber_main, unsigned(fibers_.size())));
        free_fibers_.push_back(fibers_.back().get());
      }
      t.fiber = free_fibers_.back();
      free_fibers_.pop_back();
    }
    to = t.fiber;
  }
  if (to != &from) from.switch_to(*to);
}

void Block::fiber_main() {
  current_block->run_threads();
}

// What a fiber does: the thread it was started for, then those that are next and not yet started.
void Block::run_threads() {
  threads_[running_].fiber->arrived();
  for (;;) {
    (*grid_.body)();
    finish_thread();
    Fiber& own = *threads_[running_].fiber;
    threads_[running_].fiber = nullptr;
    free_fibers_.push_back(&own);
    go_on_with(next(), own);
  }
}

// Most turns of a greedy schedule stay within the warp, which next() need not be asked for.
inline void Block::give_way() {
  const int thread = running_;
  const uint32_t ready = warps_[thread / 32].ready;
  const bool stays = ready && settings_.schedule == Schedule::greedy;
  const int then = stays ? thread / 32 * 32 + std::countr_zero(ready) : next();
  if (then != thread) go_on_with(then, *threads_[thread].fiber);
}

void Block::finish_thread() {
  threads_[running_].copies.land_all();
  Warp& warp = warps_[running_ / 32];
  const uint32_t bit = 1u << (running_ % 32);
  warp.alive &= ~bit;
  warp.ready &= ~bit;
  n_alive_--;
  n_ready_--;
  for (uint32_t rest = warp.waiting; rest; rest &= rest - 1) {  // for this lane alone, perhaps
    const int lane = std::countr_zero(rest);
    if (warp.waiting >> lane & 1) complete_operation(running_ / 32 * 32 + lane);
  }
}

// ---- Waiting

void Block::barrier(Where where) {
  where_of(running_) = where;
  if (n_at_barrier_ == 0) {
    barrier_ = where;
  } else if (!same_line(barrier_, where)) {
    fail("__syncthreads, while other threads wait at the one of " + line_of(barrier_), where);
  }
  n_at_barrier_++;
  n_ready_--;
  warps_[running_ / 32].ready &= ~(1u << (running_ % 32));
  give_way();
}

int Block::count(bool predicate, Where where) {
  n_true_ += predicate;
  barrier(where);
  return counted_;  // nobody passes the next one before all have read it
}

bool Block::Call::is(const Call& other) const {
  return lanes == other.lanes && operation == other.operation && same_line(where, other.where);
}

void Block::warp_operation(uint32_t lanes, void* post, Operation operation, Where where) {
  Warp& warp = warps_[running_ / 32];
  const int lane = running_ % 32;
  const uint32_t bit = 1u << lane;
  warp.where[lane] = where;
  if (!(lanes & bit)) fail("a warp operation of lanes that the caller is not among", where);
  const Call call{lanes, operation, where};
  if (!warp.waiting) {
    warp.first = call;
    warp.agreed = true;
  } else if (warp.agreed && !warp.first.is(call)) {
    warp.agreed = false;
    for (uint32_t rest = warp.waiting; rest; rest &= rest - 1) warp.calls[std::countr_zero(rest)] = warp.first;
  }
  if (!warp.agreed) warp.calls[lane] = call;
  warp.posts[lane] = post;
  warp.waiting |= bit;
  warp.ready &= ~bit;
  n_ready_--;
  if (!complete_operation(running_)) give_way();
}

// Runs the operation that `thread` waits in, if all its lanes that live are in it too.
inline bool Block::complete_operation(int thread) {
  Warp& warp = warps_[thread / 32];
  const Call& call = warp.agreed ? warp.first : warp.calls[thread % 32];
  const uint32_t lanes = call.lanes & warp.alive;
  if ((warp.waiting & lanes) != lanes) return false;
  for (uint32_t rest = warp.agreed ? 0 : lanes; rest; rest &= rest - 1) {
    if (!call.is(warp.calls[std::countr_zero(rest)])) return false;
  }
  call.operation(*this, warp.posts, lanes);
  if (TrafficWatch* const watch = TrafficWatch::current()) watch->met(thread / 32, lanes);
  warp.waiting &= ~lanes;
  warp.ready |= lanes;
  n_ready_ += lanes == ~0u ? 32 : std::popcount(lanes);
  return true;
}

// ---- Failures

std::string Block::place_of_failure() const {
  return std::string("kernel ") + grid_.name + ", block " + triple(index_) + ", thread " +
         triple(threads_[running_].index);
}

void Block::fail(std::string&& what, Where where) {
  error_ = place_of_failure() + ", " + line_of(where) + ": " + what;
  std::string().swap(what);
  leave();
}

void Block::fail(std::string&& what) {
  const Where last = where_of(running_);
  error_ = place_of_failure() + (last.line ? ", after " + line_of(last) : "") + ": " + what;
  std::string().swap(what);
  leave();
}

void Block::leave() {
  go_on_with(-1, *threads_[running_].fiber);
  std::abort();  // nobody switches back
}

std::string Block::deadlock() const {
  std::string text = std::string("kernel ") + grid_.name + ", block " + triple(index_) + ": deadlock";
  std::vector<std::pair<std::string, int>> places;  // where threads wait, and how many
  for (int i = 0; i < n_threads_; i++) {
    if (!(warps_[i / 32].alive >> (i % 32) & 1)) continue;
    const bool in_operation = warps_[i / 32].waiting >> (i % 32) & 1;
    const std::string where = (in_operation ? "in a warp operation at " : "at the barrier of ") + line_of(where_of(i));
    auto known = std::find_if(places.begin(), places.end(), [&](auto& p) { return p.first == where; });
    if (known == places.end()) known = places.insert(places.end(), {where, 0});
    known->second++;
  }
  for (const auto& [where, n] : places) text += ", " + std::to_string(n) + " threads wait " + where;
  return text;
}

// ---- Kernels that begin early

std::string Block::access_before_wait(const void* p, size_t bytes, bool writes) const {
  if (threads_[running_].waited) return {};
  const bool of_device = DeviceMemory::get().owns(p), of_host = !of_device && PinnedMemory::get().holds(p, bytes);
  if (!of_device && !of_host) return {};  // its stack and arguments
  if (writes) return "may begin early, and writes global memory before it has waited for earlier launches";
  if (of_host) return "may begin early, and reads the host's memory before it has waited for earlier launches";
  if (!DeviceMemory::get().kernel_wrote(p, bytes)) return {};
  return "may begin early, and reads what an earlier launch has written before it has waited for that";
}

// ---- Races

namespace {

// Notes what is written; says what is wrong.
std::string global_access(const Block& block, const void* p, size_t bytes, bool writes) {
  DeviceMemory& memory = DeviceMemory::get();
  if (!memory.owns(p)) return block.access_before_wait(p, bytes, writes);
  if (!memory.kernel_may_touch(p, bytes)) {
    return writes ? "writes device memory that is not allocated" : "reads device memory that is not allocated";
  }
  std::string wrong = block.access_before_wait(p, bytes, writes);
  if (writes) memory.written_by_kernel(p, bytes);
  return wrong;
}

// Whether an access is one to shared memory; `wrong`: one that misses its arrays.
bool is_shared(const Block& block, const void* p, size_t bytes, std::string& wrong) {
  if (!block.shared.in_arena(p)) return false;
  if (!block.shared.in_array(p, bytes)) wrong = "touches shared memory outside of its arrays";
  return true;
}

}  // namespace

void race_access(const void* code, const void* p, size_t bytes, RaceCheck::Access kind, bool is_row) {
  Block* const block = current_block;
  if (!block) return;
  std::string wrong;
  const bool shared = is_shared(*block, p, bytes, wrong);
  if (!wrong.empty()) block->fail(std::move(wrong));
  if (TrafficWatch* const watch = TrafficWatch::current()) {
    using enum TrafficWatch::Kind;
    watch->accessed(block->running_thread(), code, p, bytes, shared,
                    is_row                            ? matrix
                    : kind == RaceCheck::Access::read ? load
                                                      : store);
  }
  wrong = shared ? block->races.access(block->running_thread(), block->shared.offset(p), bytes, kind)
                 : global_access(*block, p, bytes, kind != RaceCheck::Access::read);
  if (!wrong.empty()) block->fail(std::move(wrong));
}

void aligned_access(const void* code, const void* p, size_t bytes, RaceCheck::Access kind) {
  Block* const block = current_block;
  // On its stack the compiler moves 16 bytes at once wherever a multiple of 8 is.
  const auto in_memory = [&] { return block->shared.in_arena(p) || DeviceMemory::get().owns(p); };
  if (block && reinterpret_cast<uintptr_t>(p) % bytes && in_memory()) {
    const std::string size = std::to_string(bytes);
    block->fail((kind == RaceCheck::Access::read ? "reads " : "writes ") + size +
                " bytes at an address that is no multiple of " + size);
    return;
  }
  race_access(code, p, bytes, kind);
}

void race_copy_issued(const void* code, const void* to, const void* from, size_t bytes, size_t read) {
  Block& block = *current_block;
  std::string wrong;
  is_shared(block, to, bytes, wrong);
  if (!wrong.empty()) block.fail(std::move(wrong));
  if (TrafficWatch* const watch = TrafficWatch::current()) {
    watch->accessed(block.running_thread(), code, to, bytes, true, TrafficWatch::Kind::copy_to);
    if (read) watch->accessed(block.running_thread(), code, from, read, false, TrafficWatch::Kind::copy_from);
  }
  wrong = block.races.copy_issued(block.running_thread(), block.shared.offset(to), bytes);
  if (wrong.empty() && read) wrong = global_access(block, from, read, false);
  if (!wrong.empty()) block.fail(std::move(wrong));
}

void race_copy_landed(const void* to, size_t bytes) {
  Block& block = *current_block;
  block.races.copy_landed(block.running_thread(), block.shared.offset(to), bytes);
}

// ---- Grids

namespace {

// Blocks keep the stacks of their threads, which are dear to make: they are used again by whoever runs next.
class Blocks {
 public:
  std::unique_ptr<Block> take() {
    const std::lock_guard<std::mutex> locked(lock_);
    if (idle_.empty()) return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(idle_.back());
    idle_.pop_back();
    return block;
  }
  void give_back(std::unique_ptr<Block> block) {
    const std::lock_guard<std::mutex> locked(lock_);
    idle_.push_back(std::move(block));
  }

 private:
  std::mutex lock_;
  std::vector<std::unique_ptr<Block>> idle_;
};

Blocks& blocks() {
  static Blocks& all = *new Blocks;  // outlives static objects that still use the device
  return all;
}

}  // namespace

std::string run_grid(const Grid& grid) {
  const Settings& s = settings();
  const size_t all = size_t(grid.blocks.x) * grid.blocks.y * grid.blocks.z;
  const size_t n = s.sampled_blocks ? std::min(all, s.sampled_blocks) : all;
  if (TrafficWatch* const watch = TrafficWatch::current()) {
    watch->grid_begins(grid.name, grid.blocks, grid.threads, grid.shared_bytes);
  }
  std::vector<size_t> drawn;
  if (s.schedule == Schedule::random) {
    drawn.resize(n);
    std::iota(drawn.begin(), drawn.end(), size_t(0));
    std::shuffle(drawn.begin(), drawn.end(), std::mt19937_64(s.seed));
  }
  std::atomic<size_t> next = 0;
  std::mutex lock;
  std::string error;
  const auto run_up_to = [&](Block& block, size_t end) {
    for (size_t step; next < end && (step = next++) < n;) {
      const size_t turn = !drawn.empty() ? drawn[step] : s.schedule == Schedule::reverse ? n - 1 - step : step;
      const size_t i = turn * all / n;
      const uint3 index{unsigned(i % grid.blocks.x), unsigned(i / grid.blocks.x % grid.blocks.y),
                        unsigned(i / grid.blocks.x / grid.blocks.y)};
      std::string wrong = block.run(index);
      if (wrong.empty()) continue;
      const std::lock_guard<std::mutex> locked(lock);
      if (error.empty()) error = std::move(wrong);
      next = n;
    }
  };

  // The first block tells whether the rest is worth other OS threads, which take some 50 us to start.
  constexpr int64_t kWorthAThread = 400;  // us
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  std::unique_ptr<Block> own = blocks().take();
  own->prepare(grid);
  run_up_to(*own, 1);
  const int64_t rest =
      int64_t(n - 1) * std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
  std::vector<std::thread> others;
  for (int i = 1; i < s.os_threads && i < int64_t(n) - 1 && int64_t(i) * kWorthAThread < rest && next < n; i++) {
    others.emplace_back([&] {
      std::unique_ptr<Block> block = blocks().take();
      block->prepare(grid);
      run_up_to(*block, n);
      blocks().give_back(std::move(block));
    });
  }
  run_up_to(*own, n);
  blocks().give_back(std::move(own));
  for (std::thread& other : others) other.join();
  return error;
}

}  // namespace hearth::emulation
