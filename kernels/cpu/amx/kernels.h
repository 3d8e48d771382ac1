// What the files of this folder offer one another.
#pragma once

#include "kernels/cpu/engine.h"
#include "kernels/cpu/mla_attend.h"

namespace hearth::amx {

void int8_panels(const PanelCall& call, const Int8Panels& format);

extern const mla::Kernel kLatents;

}  // namespace hearth::amx
