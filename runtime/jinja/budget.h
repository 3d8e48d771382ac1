// What a render may use, what it has used, and which line it is at: handed to everything that works or allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "quant/error.h"
#include "runtime/jinja/template.h"

namespace hearth::jinja {

class Budget {
 public:
  Budget(const Limits& limits, const std::string& name) : limits_(limits), name_(name) {}
  Budget(const Budget&) = delete;

  // One step, and one more for every sixteen `bytes` that are looked at or copied.
  void step(size_t bytes = 0) {
    steps_ += 1 + int64_t(bytes / 16);
    if (steps_ > limits_.steps) fail("the template does too much: stopped after {} steps", limits_.steps);
  }

  // Fails where this much more would be too much: asked before it is allocated.
  void expect_room(size_t bytes) const {
    if (bytes > limits_.bytes - used_) fail("the template's values need more than {} bytes", limits_.bytes);
  }

  // Error(model), with the template's name and the line.
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(ErrorKind::model,
                fmt::format("{}: line {}: {}", name_, line_, fmt::format(format, std::forward<Args>(args)...)));
  }

  void at_line(int line) { line_ = line; }
  int line() const { return line_; }

  // Held while something nested is evaluated.
  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) {
      if (budget.depth_ >= budget.limits_.depth) {
        budget.fail("expected at most {} levels of nesting (of macros that call themselves, say), found more",
                    budget.limits_.depth);
      }
      ++budget.depth_;
    }
    ~Level() { --budget_.depth_; }
    Level(const Level&) = delete;

   private:
    Budget& budget_;
  };

 private:
  friend class Charge;
  const Limits limits_;
  const std::string& name_;
  int64_t steps_ = 0;
  size_t used_ = 0;  // bytes, by those Charges that are alive
  int depth_ = 0;
  int line_ = 1;
};

// Bytes of a budget that go back to it with their owner. Without a budget (what the caller gave): none.
class Charge {
 public:
  Charge() = default;
  Charge(Budget& budget, size_t bytes) : budget_(&budget) { grow(bytes); }
  Charge(Charge&& other) noexcept : budget_(other.budget_), bytes_(other.bytes_) { other.bytes_ = 0; }
  Charge(const Charge&) = delete;
  ~Charge() {
    if (budget_ != nullptr) budget_->used_ -= bytes_;
  }

  void grow(size_t bytes) {
    if (budget_ == nullptr) return;
    budget_->expect_room(bytes);
    budget_->used_ += bytes;
    bytes_ += bytes;
  }

 private:
  Budget* budget_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace hearth::jinja
