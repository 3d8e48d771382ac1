// Layers for multi-token prediction (DeepSeek-V3 2.2), which are read and not run: behind the model's own layers in the
// same file, or in a file of its own beside the model (mtp-NAME.gguf, as llama.cpp's converter writes it): with the
// model's metadata, tensors blk.N.* and blk.N.nextn.* of the MTP layer alone, and copies of embedding, norm and head.
#pragma once

#include <cstdint>

#include "quant/gguf.h"

namespace hearth {

// By the tensors that no other layer has.
bool is_mtp_layer(const GgufFile& file, int64_t layer);

// The first layer of a file all of whose layers are for MTP; -1: it has others too, or none.
int64_t first_layer_of_mtp_file(const GgufFile& file);

// Adds the MTP layers of `beside` to the tensors of `model`, whose metadata stay: read_config finds them there. Copies
// of the model's tensors are left out. Throws Error(model): `beside` is no such file, is of another model (other sizes,
// or another output_norm), lacks a tensor of the layer or has it in another shape; `model` has an MTP layer already.
void add_mtp_file(GgufFile& model, GgufFile beside);

}  // namespace hearth
