// Which weights of a model an export quantizes, and how the others are written.
#pragma once

#include <string>
#include <vector>

#include "convert/export/format.h"
#include "convert/export/weight_encoder.h"

namespace hearth {

struct ExportScheme {
  std::vector<const WeightEncoder*> encoders;  // of each weight
  // Names of the linear modules that stay BF16, "model.layers.0.mlp.gate_proj": those that are quantized in no case
  // (head, routers, eh_proj) and those that the format does not fit or that were not asked for.
  std::vector<std::string> not_converted;
  std::vector<std::string> notes;
};

// Quantized are, of FP8: all linear modules but those above; of INT4: those of the routed experts, or all of these too
// if `all_linears`. The rest is BF16, and vectors that BF16 does not hold are F32; the routers' bias is always F32.
//
// What vLLM and SGLang load as one must be of one kind, so an MLP, and q_a_proj with kv_a_proj_with_mqa, are quantized
// whole or not at all: where every row is a multiple of 128 long and, of FP8, where the parts that have others below
// them (gate_proj, q_a_proj) have multiples of 128 rows. V2-Lite's first layer (10944) does not fit. Reads vectors and
// routers. Throws Error(format) for those that are not finite.
ExportScheme choose_scheme(const std::vector<ExportWeight>& weights, ExportFormat format, bool all_linears);

}  // namespace hearth
