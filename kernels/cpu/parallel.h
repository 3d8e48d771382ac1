// Loops whose pieces are shared among threads (team.h).
//
// What makes results independent of the number of threads: an output element is computed wholly inside one piece, in an
// order that does not depend on where the piece begins. Which thread takes a piece is free.
//
// The names are local to each file: the header is also compiled with instruction-set flags, and no inline function of
// such a file may be the copy that the linker keeps for all.
#pragma once

#include <cstdint>

#include "kernels/cpu/team.h"
#include "kernels/watch.h"

namespace hearth {
namespace {

// A part of [0, n). `next` is the begin of the part that this thread will most likely do next, or -1 if unknown.
struct Part {
  int64_t begin, end;
  int64_t next;
  int thread;
};

// How many threads share a loop of n_pieces.
[[maybe_unused]] int team_of(int n_threads, int64_t n_pieces) {
  return n_pieces < n_threads ? int(n_pieces) : n_threads;
}

// Where a thread's first part begins; 0 for a thread that has none.
[[maybe_unused]] int64_t first_part(int n_threads, int64_t n, int64_t piece, int thread) {
  const int64_t n_pieces = (n + piece - 1) / piece;
  const int team = team_of(n_threads, n_pieces);
  return thread < team ? first_piece(n_pieces, team, thread) * piece : 0;
}

// Calls f(Part) for [0, n) cut into pieces of `piece` (the last may be shorter), 0 <= thread < n_threads.
template <class F>
void parallel_parts(int n_threads, int64_t n, int64_t piece, const F& f) {
  const auto run = [&](int64_t i, int64_t next, int thread) {
    const int64_t end = (i + 1) * piece;
    f(Part{i * piece, end < n ? end : n, next < 0 ? -1 : next * piece, thread});
  };
  const int64_t n_pieces = (n + piece - 1) / piece;
  const int team = team_of(n_threads, n_pieces);
  if (team <= 1) {
    for (int64_t i = 0; i < n_pieces && watch_goes_on(); ++i) run(i, i + 1 < n_pieces ? i + 1 : -1, 0);
    return;
  }
  const auto call = [](const void* body, int64_t i, int64_t next, int thread) {
    (*static_cast<const decltype(run)*>(body))(i, next, thread);
  };
  run_loop(team, {call, &run, n_pieces});
}

// The same for f(begin, end, thread).
template <class F>
void parallel_for(int n_threads, int64_t n, int64_t piece, const F& f) {
  parallel_parts(n_threads, n, piece, [&](const Part& part) { f(part.begin, part.end, part.thread); });
}

// Units per piece, for n units of `cost` multiplications each: about eight pieces for every thread, so that uneven
// threads balance, and at most `at_most`. But never less than what takes a few microseconds, the price of waking a
// thread, even if that is more than `at_most`.
[[maybe_unused]] int64_t fair_piece(int n_threads, int64_t n, int64_t cost, int64_t at_most) {
  constexpr int64_t kWorthWaking = 65536;
  const int64_t even = n / (int64_t(n_threads) * 8), least = 1 + kWorthWaking / (cost + 1);
  const int64_t piece = even < at_most ? even : at_most;
  return piece > least ? piece : least;
}

}  // namespace
}  // namespace hearth
