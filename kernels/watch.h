// Looking in on work that takes long, and leaving it.
//
// One operation on 512 tokens can take a slow machine minutes. While a Watch lives, the thread that made it asks
// `go_on` between the pieces of the loops that it begins (kernels/cpu/team.h), so many times in a millisecond. After
// the first false nothing more is computed: pieces and loops are left out and operations return at once, until the
// Watch ends. What they were to write holds anything then, but nothing that an operation could not have written: it is
// not to be used, and does no harm. A watch never changes what is computed, only whether.
#pragma once

namespace hearth {

class Watch {
 public:
  // go_on(context) must not throw. A watch made while another one lives on this thread takes its place meanwhile.
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

// Of the calling thread's watch; without one nothing stops.
bool watch_goes_on();  // asks
bool watch_stopped();  // does not ask

}  // namespace hearth
