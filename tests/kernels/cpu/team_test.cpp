// The threads that share loops: every piece once whoever is there to do it, and no more meetings than an operation
// needs.
#include "kernels/cpu/team.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "kernels/awake.h"
#include "kernels/cpu/parallel.h"
#include "tests/kernels/fixture.h"
#include "tests/support/process.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Every number of [0, n) is in exactly one part, and threads have the numbers that were asked for.
bool covers(int n_threads, int64_t n, int64_t piece) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
  std::atomic<bool> right = true;
  parallel_parts(n_threads, n, piece, [&](const Part& part) {
    if (part.thread < 0 || part.thread >= n_threads) right = false;
    if (part.next != -1 && (part.next % piece != 0 || part.next >= n || part.next == part.begin)) right = false;
    for (int64_t i = part.begin; i < part.end; ++i) ++seen[size_t(i)];
  });
  return right && std::all_of(seen.begin(), seen.end(), [](const auto& times) { return times == 1; });
}

void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

}  // namespace

TEST_CASE("every piece is done once, by any number of threads") {
  for (const int n_threads : {1, 2, 3, 7, 2, 16, 1}) {
    for (const int64_t n : {0, 1, 2, 15, 16, 17, 1000}) {
      for (const int64_t piece : {1, 3, 64}) {
        CAPTURE(n_threads);
        CAPTURE(n);
        CAPTURE(piece);
        CHECK(covers(n_threads, n, piece));
      }
    }
  }
}

TEST_CASE("many short loops of changing teams") {
  Rng rng(1);
  for (int i = 0; i < 20000; ++i) {
    const int n_threads = 1 + int(rng() % 5);
    const int64_t n = 1 + int64_t(rng() % 20);
    if (!covers(n_threads, n, 1)) FAIL("loop ", i, ": ", n, " pieces, ", n_threads, " threads");
  }
}

TEST_CASE("a thread takes its pieces in order and knows the next one") {
  constexpr int64_t n = 100;
  int64_t next[n];
  parallel_parts(1, n, 1, [&](const Part& part) { next[part.begin] = part.next; });
  for (int64_t i = 0; i < n; ++i) CHECK(next[i] == (i + 1 < n ? i + 1 : -1));
  CHECK(first_part(4, 100, 10, 0) == 0);
  CHECK(first_part(4, 100, 10, 1) == 20);
  CHECK(first_part(4, 100, 10, 3) == 70);
  CHECK(first_part(4, 20, 10, 1) == 10);
  CHECK(first_part(4, 20, 10, 3) == 0);  // two parts only
}

TEST_CASE("a thread that is held up keeps its piece alone from being done") {
  constexpr int64_t n = 64;
  std::atomic<int> held = 0, by_others = 0;
  std::atomic<int> holder = -1;
  parallel_parts(2, n, 1, [&](const Part& part) {
    int nobody = -1;
    if (holder.compare_exchange_strong(nobody, part.thread)) {
      while (by_others < n - 1) sleep_ms(1);
    }
    ++(holder == part.thread ? held : by_others);
  });
  CHECK(held == 1);
  CHECK(by_others == n - 1);
}

TEST_CASE("loops inside a piece, and of several threads at once") {
  std::atomic<int> right = 0;
  parallel_for(3, 8, 1, [&](int64_t, int64_t, int) { right += covers(3, 50, 4); });
  CHECK(right == 8);

  right = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int j = 0; j < 200; ++j) right += covers(3, 50, 4);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(right == 4 * 200);
}

TEST_CASE("without the other threads the caller does it all") {
  CHECK(covers(4, 100, 1));
  CHECK(in_child([] { return covers(4, 100, 1); }));  // a child process has none of its parent's threads
}

TEST_CASE("sleeping threads wake up") {
  for (int i = 0; i < 5; ++i) {
    sleep_ms(20);  // longer than anyone spins
    std::atomic<int> together = 0;
    parallel_for(2, 2, 1, [&](int64_t, int64_t, int) {
      ++together;
      const auto start = std::chrono::steady_clock::now();
      while (together < 2 && std::chrono::steady_clock::now() - start < std::chrono::seconds(20)) sleep_ms(1);
    });
    CHECK(together == 2);
  }
}

TEST_CASE("a watch is asked between pieces, and ends the loop and those after it") {
  for (const int n_threads : {1, 2, 5}) {
    CAPTURE(n_threads);
    int left = 3;
    std::atomic<int> done = 0;
    const auto loop = [&] { parallel_for(n_threads, 200, 1, [&](int64_t, int64_t, int) { ++done, sleep_ms(1); }); };
    {
      Watch watch([](void* context) { return --*static_cast<int*>(context) > 0; }, &left);
      loop();
      CHECK(watch.stopped());
      CHECK(done < 200);
      CHECK(left == 0);  // and not asked again
      done = 0;
      loop();
      CHECK(done == 0);
      CHECK(watch_stopped());
      std::thread([&] { CHECK_FALSE(watch_stopped()); }).join();  // it watches one thread's loops
    }
    CHECK_FALSE(watch_stopped());
    loop();
    CHECK(done == 200);
  }
}

TEST_CASE("a watch that lets all pass changes nothing, and those inside one another come back") {
  int asked = 0;
  const auto count = [](void* context) { return ++*static_cast<int*>(context) > 0; };
  Watch outer(count, &asked);
  CHECK(covers(3, 100, 1));  // of which this thread, the one that is asked, may get none
  CHECK(covers(1, 100, 1));
  CHECK(asked >= 100);
  int inside = 0;
  {
    Watch inner(count, &inside);
    CHECK(covers(1, 100, 1));
  }
  CHECK(inside == 100);
  const int before = asked;
  CHECK(covers(1, 10, 1));
  CHECK(asked == before + 10);
}

// An ordinary signal sent to the program is not for the team's threads, but their own faults are.
TEST_CASE("threads of the team block signals, but not faults") {
  std::atomic<int> wrong = 0, workers = 0;
  parallel_for(3, 3, 1, [&](int64_t, int64_t, int thread) {
    if (thread == 0) return sleep_ms(50);
    ++workers;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL}) wrong += sigismember(&blocked, fault);
    for (const int other : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) wrong += !sigismember(&blocked, other);
  });
  CHECK(wrong == 0);
  CHECK(workers > 0);
}

TEST_CASE("the experts of a token meet twice") {
  for (const Ops* ops : available_tables()) {
    if (name_of(ops) == "scalar") continue;  // the oracle takes one expert after the other
    CAPTURE(name_of(ops));
    Rng rng(3);
    constexpr int64_t kDim = 1024, kInner = 768, kExperts = 8, kUsed = 6;
    const Format& q4 = format_of(FormatId::q4_k);
    const TestWeight gate = TestWeight::random_bytes(rng, q4, kExperts, kInner, kDim);
    const TestWeight down = TestWeight::random_bytes(rng, q4, kExperts, kDim, kInner);
    const FfnWeights w = {gate.view, gate.view, down.view};
    ScratchLimits limits;
    limits.max_tokens = 1;
    limits.dim = limits.max_width = kDim;
    limits.inter_dim = limits.moe_inter_dim = kInner;
    limits.n_experts = kExperts;
    limits.n_activated = kUsed;
    Bed bed(*ops, limits, 2);
    const Rows x = Rows::random(rng, 1, kDim);
    Rows y(1, kDim);
    const int32_t ids[kUsed] = {7, 0, 3, 2, 5, 6};
    const float weights[kUsed] = {1, 1, 1, 1, 1, 1};
    const uint32_t before = shared_loops();
    ops->moe_ffn(bed.exec(), w, {}, ids, weights, kUsed, x.view(), y.view());
    CHECK(shared_loops() - before == 2);
  }
}

// Whether the helpers went to sleep since the loop before a pause of this length began. The system may stop any thread
// for longer than anybody spins, the caller's within the loop and the helper's within the pause, so many are tried.
static int pauses_slept_through(std::chrono::microseconds length, int tries) {
  int slept = 0;
  for (int i = 0; i < tries; ++i) {
    const uint32_t before = team_sleeps();
    covers(2, 16, 1);
    const auto end = std::chrono::steady_clock::now() + length;
    while (std::chrono::steady_clock::now() < end) {
      if (length >= std::chrono::milliseconds(1)) sleep_ms(1);  // a short one would be much longer
    }
    slept += team_sleeps() != before;
  }
  return slept;
}

static bool some_long_pause_is_slept_through() {
  for (int i = 0; i < 200; ++i) {
    if (pauses_slept_through(std::chrono::milliseconds(20), 1) > 0) return true;
  }
  return false;
}

TEST_CASE("helpers sleep through a pause, unless they are kept awake; a long one they sleep through in any case") {
  CHECK(some_long_pause_is_slept_through());
  {
    const AwakeTeam awake;
    int slept = 100;
    for (int i = 0; i < 50 && slept == 100; ++i) slept = pauses_slept_through(std::chrono::microseconds(150), 100);
    CHECK_MESSAGE(slept < 100, "some pause was short enough for a helper that is awake");
    CHECK(some_long_pause_is_slept_through());
  }
  CHECK(some_long_pause_is_slept_through());
}
