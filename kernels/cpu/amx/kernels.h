// What the files of this folder offer one another.
#pragma once

#include "kernels/cpu/latent.h"

namespace hearth::amx {

extern const latent::Kernel kLatents;

}  // namespace hearth::amx
