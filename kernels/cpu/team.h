// The threads that share a loop's pieces.
//
// A loop's pieces are split evenly into one run for each thread. The thread takes its run in order, so it reads memory
// in order and knows what it will read next. A thread whose run is done takes pieces from the end of the longest run
// left. The caller waits only for pieces that some thread has begun: threads that the system does not run in time only
// cost their help, and a machine busy with other work slows a loop in proportion.
#pragma once

#include <cstdint>

namespace hearth {

struct Loop {
  // Does a piece, on a thread 0 <= thread < n_threads. `next` is the piece that this thread will most likely do
  // afterwards, or -1.
  void (*run)(const void* body, int64_t piece, int64_t next, int thread);
  const void* body;
  int64_t n_pieces;  // < kMaxPieces
};

constexpr int64_t kMaxPieces = int64_t(1) << 24;
constexpr int kMaxThreads = 1024;

// Returns when every piece is done, or left out because the caller's watch (kernels/watch.h) said so. The caller is
// thread 0; the others are started when first needed. A loop that begins while another one runs, in one of its pieces
// or beside it, is done by its caller alone.
void run_loop(int n_threads, const Loop& loop);

// The first piece of a thread's run, in a loop shared by n_threads threads.
constexpr int64_t first_piece(int64_t n_pieces, int n_threads, int thread) {
  return n_pieces * thread / n_threads;
}

// AwakeTeam (kernels/awake.h) begins and ends.
void keep_team_awake(bool awake);

// For tests: how often one of the team's threads has gone to sleep since the program began.
uint32_t team_sleeps();

// For tests: the number of loops that were shared among threads since the program began.
uint32_t shared_loops();

}  // namespace hearth
