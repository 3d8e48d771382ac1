// Rows of a matrix in any format as floats: the embedding of tokens, and a small matrix decoded whole.
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

// Rows of the embedding: tokens [T], each in 0 .. table.n - 1 -> x [T,d]. The values are exactly those of
// quant/decode.h.
void embed(const Exec& exec, const Weight& table, const int32_t* tokens, Mat<float> x);

// All rows of matrix 0: W [n,k] -> x [n,k].
void decode_matrix(const Exec& exec, const Weight& w, Mat<float> x);

}  // namespace hearth::gpu
