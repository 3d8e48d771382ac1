// Runs a check under every order of threads that the emulation knows; on a GPU, once.
#pragma once

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#ifdef HEARTH_EMULATED_CUDA
#include "tests/emulation/settings.h"
#endif

namespace hearth::test {

template <class Check>
void under_every_schedule(Check check) {
#ifdef HEARTH_EMULATED_CUDA
  using emulation::Schedule;
  emulation::Settings& settings = emulation::settings();
  struct Restore {
    emulation::Settings before = emulation::settings();
    ~Restore() { emulation::settings() = before; }
  } const restore;
  const struct {
    const char* name;
    Schedule schedule;
    uint64_t seed;
    bool eager;
  } schedules[] = {
      {"forward, lazy copies", Schedule::forward, 0, false}, {"reverse, eager copies", Schedule::reverse, 0, true},
      {"random, lazy copies", Schedule::random, 1, false},   {"random, eager copies", Schedule::random, 2, true},
      {"greedy, eager copies", Schedule::greedy, 0, true},   {"greedy, lazy copies", Schedule::greedy, 3, false},
  };
  for (const auto& s : schedules) {
    INFO("threads: " << s.name);
    settings.schedule = s.schedule;
    settings.seed = s.seed;
    settings.eager_copies = s.eager;
    check();
  }
#else
  check();
#endif
}

}  // namespace hearth::test
