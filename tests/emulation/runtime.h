// What the files of the runtime's stand-in share.
#pragma once

#include <mutex>

#include "tests/emulation/queue.h"
#include "tests/emulation/settings.h"

namespace hearth::emulation {

// Remembers an error for cudaGetLastError, and gives it back.
cudaError_t note(cudaError_t error);

class Locked {
 public:
  Locked() : lock_(Queue::get().lock) {}

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

}  // namespace hearth::emulation
