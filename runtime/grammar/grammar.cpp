#include "runtime/grammar/grammar.h"

namespace hearth::grammar {

size_t Matcher::advance(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size(); ++i)
    if (!advance(static_cast<uint8_t>(bytes[i]))) return i;
  return bytes.size();
}

std::bitset<256> Matcher::allowed() const {
  std::bitset<256> bytes;
  if (dead()) return bytes;
  for (unsigned byte = 0; byte < 256; ++byte) bytes[byte] = state_->clone()->advance(static_cast<uint8_t>(byte));
  return bytes;
}

}  // namespace hearth::grammar
