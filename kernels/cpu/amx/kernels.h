// What the files of this folder offer one another.
#pragma once

#include "kernels/cpu/engine.h"
#include "kernels/cpu/mla_attend.h"

namespace hearth::amx {

void group_panels(const PanelCall& call, const TilePanels& format);
void int8_panels(const PanelCall& call, const TilePanels& format);
void bf16_panels(const PanelCall& call, const TilePanels& format);  // bfloat16 activations

// The same for formats of one number per weight.
void f16_panels(const PanelCall& call);
void bf16_weight_panels(const PanelCall& call);
void f8_e4m3_panels(const PanelCall& call);
void nvfp4_panels(const PanelCall& call);

extern const mla::Kernel kLatents;

}  // namespace hearth::amx
