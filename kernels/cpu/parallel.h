// Threads, through OpenMP and nowhere else.
//
// What makes results independent of the number of threads: the pieces are the same whatever the team, and an output
// element is computed wholly inside one piece, in a fixed order. Which thread takes a piece is free.
//
// The names are local to each file: the header is also compiled with instruction-set flags, and no inline function of
// such a file may be the copy that the linker keeps for all.
#pragma once

#include <omp.h>

#include <cstdint>

namespace hearth {
namespace {

// Calls f(begin, end, thread) for [0, n) cut into pieces of `piece` (the last may be shorter), 0 <= thread < n_threads.
template <class F>
void parallel_for(int n_threads, int64_t n, int64_t piece, const F& f) {
  const int64_t n_pieces = (n + piece - 1) / piece;
  const int team = n_pieces < n_threads ? int(n_pieces) : n_threads;
  const auto run = [&](int64_t i, int thread) {
    const int64_t end = (i + 1) * piece;
    f(i * piece, end < n ? end : n, thread);
  };
  if (team <= 1) {
    for (int64_t i = 0; i < n_pieces; ++i) run(i, 0);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
  for (int64_t i = 0; i < n_pieces; ++i) run(i, omp_get_thread_num());
}

// A piece for n units of `cost` multiplications each: about eight turns for every thread, so that uneven threads
// balance, but at least what takes a few microseconds, the price of waking one, and at most `at_most` units.
[[maybe_unused]] int64_t fair_piece(int n_threads, int64_t n, int64_t cost, int64_t at_most) {
  constexpr int64_t kWorthWaking = 65536;
  const int64_t even = n / (int64_t(n_threads) * 8), least = 1 + kWorthWaking / (cost + 1);
  const int64_t piece = even < at_most ? even : at_most;
  return piece > least ? piece : least;
}

}  // namespace
}  // namespace hearth
