#include "tests/emulation/settings.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <thread>

namespace hearth::emulation {

namespace {

[[noreturn]] void refuse(const std::string& word) {
  std::fprintf(stderr, "HEARTH_EMULATED_GPU: \"%s\" is not a setting (tests/emulation/settings.h lists them)\n",
               word.c_str());
  std::exit(2);
}

uint64_t number(const std::string& text, const std::string& word) {
  char* end = nullptr;
  uint64_t value = std::strtoull(text.c_str(), &end, 10);
  const std::string unit = end;
  if (unit == "K" || unit == "M" || unit == "G") {
    value <<= unit == "K" ? 10 : unit == "M" ? 20 : 30;
  } else if (!unit.empty() || text.empty()) {
    refuse(word);
  }
  return value;
}

Settings from_environment() {
  Settings s;
  s.os_threads = std::min(s.os_threads, int(std::thread::hardware_concurrency()));
  const char* text = std::getenv("HEARTH_EMULATED_GPU");
  std::istringstream words(text ? text : "");
  for (std::string word; std::getline(words, word, ',');) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) refuse(word);
    const std::string name = word.substr(0, equals), value = word.substr(equals + 1);
    if (word == "schedule=forward") {
      s.schedule = Schedule::forward;
    } else if (word == "schedule=reverse") {
      s.schedule = Schedule::reverse;
    } else if (word == "schedule=random") {
      s.schedule = Schedule::random;
    } else if (word == "schedule=greedy") {
      s.schedule = Schedule::greedy;
    } else if (word == "queue=random" || word == "queue=in_order") {
      s.random_queue = value == "random";
    } else if (word == "copies=eager" || word == "copies=lazy") {
      s.eager_copies = value == "eager";
    } else if (word == "tensor_core=in_order") {
      s.tensor_core = instructions::TensorCore::in_order;
    } else if (word == "tensor_core=hopper") {
      s.tensor_core = instructions::TensorCore::hopper;
    } else if (word == "tensor_core=ampere") {
      s.tensor_core = instructions::TensorCore::ampere;
    } else if (word == "driver=none") {
      s.driver = 0;
    } else if (word == "driver=old") {
      s.driver = 12020;
    } else if (name == "seed") {
      s.seed = number(value, word);
    } else if (name == "threads") {
      s.os_threads = int(number(value, word));
    } else if (name == "capability") {
      s.capability = int(number(value, word));
    } else if (name == "gpus") {
      s.gpus = int(number(value, word));
    } else if (name == "large_gpu") {
      s.large_gpu = int(number(value, word));
    } else if (name == "memory") {
      s.memory = size_t(number(value, word));
    } else if (name == "others") {
      s.others = size_t(number(value, word));
    } else if (name == "others_later") {
      s.others_later = size_t(number(value, word));
    } else if (name == "lockable") {
      s.lockable = size_t(number(value, word));
    } else if (name == "fail_allocation") {
      s.fail_allocation = int64_t(number(value, word));
    } else if (name == "fail_copy") {
      s.fail_copy = int64_t(number(value, word));
    } else if (name == "fail_launch") {
      s.fail_launch = int64_t(number(value, word));
    } else if (name == "fail_recording") {
      s.fail_recording = int64_t(number(value, word));
    } else {
      refuse(word);
    }
  }
  return s;
}

}  // namespace

RuntimeCalls& runtime_calls() {
  static RuntimeCalls calls;
  return calls;
}

Settings& settings() {
  static Settings s = from_environment();
  return s;
}

}  // namespace hearth::emulation
