// What the files of this folder offer one another.
#pragma once

#include "kernels/cpu/engine.h"
#include "kernels/cpu/mla_attend.h"

namespace hearth::amx {

void group_panels(const PanelCall& call, const TilePanels& format);
void int8_panels(const PanelCall& call, const TilePanels& format);

extern const mla::Kernel kLatents;

}  // namespace hearth::amx
