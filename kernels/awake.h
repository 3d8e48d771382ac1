// For work that comes to the CPU's threads again and again, with short pauses between.
#pragma once

namespace hearth {

// While one of these lives, threads that have shared a loop stay awake for about a millisecond before they sleep, and
// not for some 50 microseconds: for work that comes again and again with pauses of hundreds of microseconds between, as
// the host's experts do beside a GPU. Being woken would take 20 to 60.
class AwakeTeam {
 public:
  AwakeTeam();
  ~AwakeTeam();
  AwakeTeam(const AwakeTeam&) = delete;
  AwakeTeam& operator=(const AwakeTeam&) = delete;
};

}  // namespace hearth
