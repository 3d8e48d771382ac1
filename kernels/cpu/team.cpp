#include "kernels/cpu/team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <memory>
#include <system_error>
#include <thread>

#include "kernels/awake.h"
#include "kernels/watch.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace hearth {
namespace {

// What is left of a thread's run, in one word, so that taking a piece is one compare-and-exchange. The word also holds
// the size of the team: a thread beyond that size finds nothing to take, even if it began to look before this loop
// started.
struct Run {
  uint64_t begin, end, n_threads;

  uint64_t word() const { return begin << 40 | end << 16 | n_threads; }
  static Run of(uint64_t word) { return {word >> 40, word >> 16 & (kMaxPieces - 1), word & 0xffff}; }
  uint64_t left() const { return end - begin; }
};

struct alignas(64) Slot {
  std::atomic<uint64_t> run{0};
};

void spin_hint() {
#ifdef __x86_64__
  _mm_pause();
#endif
}

// Spins before yielding. One _mm_pause takes 40 to 140 cycles, so these take 20 to 100 microseconds: more than the time
// between two loops of a token, less than the time slice that the system would give to another process.
constexpr int kSpins = 2000;
constexpr int kAwakeSpins = 40000;  // half a millisecond to two
constexpr int kYields = 20;

// Waits until `value` is no longer `old`: spins, then yields, then sleeps.
template <class T>
void wait_while(const std::atomic<T>& value, T old, int yields) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    spin_hint();
  }
  for (int i = 0; i < yields; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    sched_yield();
  }
  value.wait(old, std::memory_order_acquire);
}

class Team {
 public:
  void run(int n_threads, const Loop& loop) {
    if (busy_.test_and_set(std::memory_order_acquire)) {
      for (int64_t i = 0; i < loop.n_pieces && watch_goes_on(); ++i)
        loop.run(loop.body, i, i + 1 < loop.n_pieces ? i + 1 : -1, 0);
      return;
    }
    start_threads(n_threads - 1);
    loop_ = loop;
    stopped_.store(watch_stopped(), std::memory_order_relaxed);
    left_.store(uint32_t(loop.n_pieces), std::memory_order_relaxed);
    size_.store(n_threads, std::memory_order_relaxed);
    for (int i = 0; i < n_threads; ++i) {
      const uint64_t begin = uint64_t(first_piece(loop.n_pieces, n_threads, i));
      const uint64_t end = uint64_t(first_piece(loop.n_pieces, n_threads, i + 1));
      slots_[size_t(i)].run.store(Run{begin, end, uint64_t(n_threads)}.word(), std::memory_order_release);
    }
    n_loops_.fetch_add(1, std::memory_order_release);
    n_loops_.notify_all();
    work(0);
    for (uint32_t left; (left = left_.load(std::memory_order_acquire)) != 0;) wait_while(left_, left, kYields);
    busy_.clear(std::memory_order_release);
  }

  uint32_t n_loops() const { return n_loops_.load(std::memory_order_relaxed); }
  uint32_t sleeps() const { return sleeps_.load(std::memory_order_relaxed); }
  void keep_awake(bool awake) { awake_.fetch_add(awake ? 1 : -1, std::memory_order_relaxed); }

 private:
  // Whether another loop begins within so many spins.
  bool comes_soon(uint32_t seen, int spins) const {
    for (int i = 0; i < spins; ++i) {
      if (n_loops_.load(std::memory_order_acquire) != seen) return true;
      spin_hint();
    }
    return false;
  }

  // A thread claims a piece by the exchange that takes it out of a run, which succeeds only while the loop is not over.
  // So what the thread reads of loop_ afterwards belongs to the same loop.
  bool take(int from, int thread, bool front, int64_t* piece, int64_t* next) {
    std::atomic<uint64_t>& slot = slots_[size_t(from)].run;
    uint64_t word = slot.load(std::memory_order_acquire);
    for (;;) {
      Run run = Run::of(word);
      if (run.left() == 0 || uint64_t(thread) >= run.n_threads) return false;
      *piece = int64_t(front ? run.begin++ : --run.end);
      *next = run.left() == 0 ? -1 : int64_t(front ? run.begin : run.end - 1);
      if (slot.compare_exchange_weak(word, run.word(), std::memory_order_acq_rel, std::memory_order_acquire))
        return true;
    }
  }

  // The thread with the longest run left, or -1.
  int richest() const {
    int best = -1;
    uint64_t most = 0;
    const int n = size_.load(std::memory_order_relaxed);
    for (int i = 0; i < n; ++i) {
      const uint64_t left = Run::of(slots_[size_t(i)].run.load(std::memory_order_relaxed)).left();
      if (left > most) most = left, best = i;
    }
    return best;
  }

  void work(int thread) {
    const auto done = [&](int64_t piece, int64_t next) {
      if (thread == 0 && !watch_goes_on()) stopped_.store(true, std::memory_order_relaxed);
      if (!stopped_.load(std::memory_order_relaxed)) loop_.run(loop_.body, piece, next, thread);
      if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_one();
    };
    int64_t piece = 0, next = 0;
    while (take(thread, thread, true, &piece, &next)) done(piece, next);
    for (int from; (from = richest()) >= 0;) {
      if (!take(from, thread, false, &piece, &next)) {
        if (thread >= size_.load(std::memory_order_relaxed)) return;
        continue;
      }
      done(piece, next);
    }
  }

  // If the system refuses to start a thread, the team does without it.
  void start_threads(int n) {
    if (n <= n_workers_) return;
    // Signals are left to the program's own threads. But a fault is delivered to the thread that caused it: if it is
    // blocked there, the system kills the process without a word. Reading a mapped file that somebody shortens is such
    // a fault.
    sigset_t others, before;
    sigfillset(&others);
    for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&others, fault);
    pthread_sigmask(SIG_SETMASK, &others, &before);
    for (; n_workers_ < n; ++n_workers_) {
      try {
        std::thread([this, index = n_workers_ + 1, seen = n_loops()]() mutable {
          for (;;) {
            const int spins = awake_.load(std::memory_order_relaxed) > 0 ? kAwakeSpins : kSpins;
            if (!comes_soon(seen, spins)) {
              sleeps_.fetch_add(1, std::memory_order_relaxed);
              n_loops_.wait(seen, std::memory_order_acquire);
            }
            seen = n_loops();
            work(index);
          }
        }).detach();
      } catch (const std::system_error&) {
        break;
      }
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  std::atomic_flag busy_;
  Loop loop_{};
  std::atomic<uint32_t> left_{0};
  std::atomic<int> size_{0};
  std::atomic<bool> stopped_{false};  // set by the caller's watch: pieces are then taken but not done
  std::atomic<int> awake_{0};         // AwakeTeams that live
  std::atomic<uint32_t> sleeps_{0};
  std::atomic<uint32_t> n_loops_{0};  // 32 bits, the size of a futex
  int n_workers_ = 0;
  std::array<Slot, kMaxThreads> slots_;
};

// Never destroyed: its threads still wait in it when the program ends.
Team& team() {
  static Team& team = *new Team;
  return team;
}

}  // namespace

void run_loop(int n_threads, const Loop& loop) {
  assert(n_threads >= 1 && loop.n_pieces < kMaxPieces);
  team().run(std::min(n_threads, kMaxThreads), loop);
}

void keep_team_awake(bool awake) {
  team().keep_awake(awake);
}

uint32_t team_sleeps() {
  return team().sleeps();
}

AwakeTeam::AwakeTeam() {
  keep_team_awake(true);
}

AwakeTeam::~AwakeTeam() {
  keep_team_awake(false);
}

uint32_t shared_loops() {
  return team().n_loops();
}

}  // namespace hearth
