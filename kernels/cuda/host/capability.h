// What a GPU's compute capability says about it.
#pragma once

namespace hearth::gpu {

// Queue::halved_float_sums, of 89 for 8.9. (Professional cards of these numbers have the whole rate; there tiles of
// bytes are as fast as tiles of bf16 by tensor cores.)
constexpr bool halves_float_sums(int capability) {
  return capability == 86 || capability == 89 || capability == 120;
}

}  // namespace hearth::gpu
