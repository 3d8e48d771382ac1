// What the files of this folder offer one another.
#pragma once

#include "kernels/cpu/latent.h"

namespace hearth::amx {

// The kernel of mla_attend, and the memory it works in.
void attend_latents(const latent::Unit& unit);
size_t latent_work(const ScratchLimits& limits);

}  // namespace hearth::amx
