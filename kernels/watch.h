// Asks during long work whether to go on, and ends the work early if not.
//
// One operation on 512 tokens can take minutes on a slow machine. While a Watch lives, the thread that made it asks
// `go_on` between the pieces of its loops (kernels/cpu/team.h), many times in a millisecond. After the first false
// nothing more is computed until the Watch ends: loops skip their remaining pieces and operations return at once. Their
// outputs then hold anything that an operation could have written: they must not be used, but do no harm. A watch never
// changes what is computed, only whether it is.
#pragma once

namespace hearth {

class Watch {
 public:
  // go_on(context) must not throw. A Watch made while another one lives on this thread replaces it until the new one
  // ends.
  Watch(bool (*go_on)(void* context), void* context);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  bool ask();  // false: stopped, now or before
  bool stopped() const { return stopped_; }

 private:
  bool (*go_on_)(void* context);
  void* context_;
  bool stopped_ = false;
  Watch* before_;
};

// Both are about the calling thread's Watch; without one, work goes on.
bool watch_goes_on();  // asks
bool watch_stopped();  // does not ask

}  // namespace hearth
