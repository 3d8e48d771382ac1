// What the files of the runtime's stand-in share.
#pragma once

#include <mutex>

#include "tests/emulation/queue.h"
#include "tests/emulation/settings.h"

namespace hearth::emulation {

// Remembers an error for cudaGetLastError, and gives it back.
cudaError_t note(cudaError_t error);

// Or none at all: the runtime says the same of both, and only cudaDriverGetVersion tells them apart.
inline bool driver_too_old() {
  return settings().driver < CUDART_VERSION;
}

// Counts down to the call that is to fail; true: this is it.
inline bool due(int64_t& count) {
  return count > 0 && --count == 0;
}

class Locked {
 public:
  Locked() : lock_(Queue::get().lock) { ++runtime_calls().calls; }

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

}  // namespace hearth::emulation
