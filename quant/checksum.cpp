#include "quant/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>

namespace hearth {

uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

struct Checksum::State {
  XXH3_state_t* xxh = XXH3_createState();  // aligned for vector loads, which is why the library allocates it
  ~State() { XXH3_freeState(xxh); }
};

Checksum::Checksum() : state_(std::make_unique<State>()) {
  if (!state_->xxh) throw std::bad_alloc();
  reset();
}

Checksum::~Checksum() = default;

void Checksum::reset() {
  XXH3_64bits_reset(state_->xxh);
}

void Checksum::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_64bits_update(state_->xxh, bytes.data(), bytes.size());
}

uint64_t Checksum::value() const {
  return XXH3_64bits_digest(state_->xxh);
}

std::string checksum_text(uint64_t value) {
  return fmt::format("{:016x}", value);
}

}  // namespace hearth
