// The threads that share a loop's pieces.
//
// A loop's pieces are split evenly into one run for each thread, which takes them in order: so it reads memory in
// order, and knows what it will read next. A thread whose run is done takes pieces from the end of the longest run
// left. The caller waits for the pieces that somebody has begun and for nothing else: threads that the system does not
// let run in time cost their help alone, and a machine that is busy with other work slows a loop in proportion.
#pragma once

#include <cstdint>

namespace hearth {

struct Loop {
  // Does a piece, on a thread 0 <= thread < n_threads. `next` is the piece which this thread will most likely do after
  // it, or -1.
  void (*run)(const void* body, int64_t piece, int64_t next, int thread);
  const void* body;
  int64_t n_pieces;  // < kMaxPieces
};

constexpr int64_t kMaxPieces = int64_t(1) << 24;
constexpr int kMaxThreads = 1024;

// Returns when every piece is done, or left out because the caller's watch (kernels/watch.h) said so. The caller is
// thread 0; the others are started when they are first asked for. A
// loop that begins while another one runs, in one of its pieces or beside it, is done by its caller alone.
void run_loop(int n_threads, const Loop& loop);

// The first piece of a thread's run, in a loop that as many threads share.
constexpr int64_t first_piece(int64_t n_pieces, int n_threads, int thread) {
  return n_pieces * thread / n_threads;
}

// For tests: loops that were shared since the program began, which is how often threads have met.
uint32_t shared_loops();

}  // namespace hearth
