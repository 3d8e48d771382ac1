// Kernels of cuda_row_header_test.cpp: the product kernels and the decoding of rows as they are compiled for the
// made-up format, or, `headed` false, for Q8_0. Device pointers.
#pragma once

#include "kernels/cuda/matmul/tile_product.h"
#include "kernels/ops.h"

namespace hearth::test {

// All rows of w -> x [n,k].
void decode_rows(bool headed, const Weight& w, Mat<float> x);

// As for one token: y [1,n] = x [1,k] W^T.
void multiply_one(bool headed, const Weight& w, Mat<const float> x, Mat<float> y);

// As for many: x [2][T,k] in bf16, rounded values and what that left.
void multiply_many(bool headed, gpu::TileShape shape, const Weight& w, const uint16_t* x, Mat<float> y);

}  // namespace hearth::test
