// XXH3-64 of bytes: a tensor, a file, a vector of logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace hearth {

uint64_t checksum(std::span<const std::byte> bytes);

// The same value over pieces that arrive one after the other.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  void add(std::span<const std::byte> bytes);
  void reset();  // as if nothing had been added
  uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string checksum_text(uint64_t value);  // 16 lower-case hex digits

}  // namespace hearth
