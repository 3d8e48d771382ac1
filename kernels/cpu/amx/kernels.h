// What the files of this folder offer one another.
#pragma once

#include "kernels/cpu/mla_attend.h"

namespace hearth::amx {

extern const mla::Kernel kLatents;

}  // namespace hearth::amx
