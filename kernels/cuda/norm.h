// Operations on each token's residual row: RMSNorm, alone or after the residual sum, and the sum alone. Device pointers
// throughout; x, y and h are float32 rows of any stride.
#pragma once

#include "kernels/ops.h"

namespace hearth::gpu {

// y = w * x / sqrt(mean(x^2) + eps): x [T,d], w [d] -> y [T,d]; y may be x.
void rms_norm(const Exec& exec, Mat<const float> x, const float* w, float eps, Mat<float> y);

// x += y, then h = rms_norm(x) in the same kernel: y [T,d], x [T,d], w [d] -> h [T,d], which is neither x nor y.
void add_rms_norm(const Exec& exec, Mat<const float> y, Mat<const float> rest, Mat<float> x, const float* w, float eps,
                  Mat<float> h);

// One token: x += y and rest, where they have data; h = rms_norm(x), also as integers: rounded (rounded_row.h) for d
// values, aligned to 16.
void norm_one(const Exec& exec, const Residual& residual, const float* norm, float eps, Mat<float> h,
              std::byte* rounded);

// x += y, both [T,d].
void add(const Exec& exec, Mat<const float> y, Mat<float> x);

}  // namespace hearth::gpu
