#include "kernels/watch.h"

namespace hearth {
namespace {

thread_local Watch* watch = nullptr;

}  // namespace

Watch::Watch(bool (*go_on)(void*), void* context) : go_on_(go_on), context_(context), before_(watch) {
  watch = this;
}
Watch::~Watch() {
  watch = before_;
}

bool Watch::ask() {
  stopped_ = stopped_ || !go_on_(context_);
  return !stopped_;
}

bool watch_goes_on() {
  return !watch || watch->ask();
}
bool watch_stopped() {
  return watch && watch->stopped();
}

}  // namespace hearth
