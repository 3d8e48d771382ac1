// Weights that a checkpoint has quantized and a format of the file can hold as they are: their codes are copied, not
// made anew.
//
//   checkpoint                           format      scales and zeros
//   FP8 whose scales follow the rows     F8_E4M3     exact
//   4 bits without zeros                 I4_G128     a scale in F16, for groups that are multiples of 128
//                                        Q4_0        the same, of 32
//   4 bits with zeros                    Q4_1        scale, and -scale * zero, in F16
//                                        Q8_0        code - zero as a byte: what Q4_1 rounds is exact here
//                                        F8_E4M3     code - zero in FP8, scale in F32: exact, multiples of 128
//   8 bits without zeros                 Q8_0        a scale in F16
//
// F16 holds scales of F16, and those of BF16 from 2^-17 to 65504. Others are rounded, by 2^-12 of their size at most
// (1/8 of what BF16 rounds a weight by), and so is Q4_1's product; CarryLoss says by how much.
#pragma once

#include <atomic>
#include <cstdint>

#include "convert/name_map.h"
#include "quant/format.h"

namespace hearth {

// What F16's rounding of scales did to weights.
struct CarryLoss {
  std::atomic<int64_t> blocks{0};           // carried
  std::atomic<int64_t> rounded{0};          // of these, with a scale or a product that was rounded
  std::atomic<double> error{0}, square{0};  // of the rounded blocks' weights: sum of squared errors, and of squares

  double relative_error() const;  // root of error / square
};

// Whether `format` holds the codes of all the tensor's sources, along the rows of the file. The format must fit the
// rows.
bool carries(const OutputTensor& tensor, const Format& format);

// The smallest format that holds all that the checkpoint has: codes where one does, else the type of the floats, else
// (of codes that no format holds) the 16-bit type in which the checkpoint's own programs decode them: F16 where scales
// are F16, else BF16. F32 for vectors.
const Format& kept_format(const OutputTensor& tensor);

// Rows first .. first + n of a source -> blocks [n, row bytes], by a format that carries it. Throws Error(format) for
// scales and FP8 codes that are not finite, and for scales too large for F16.
void carry_rows(const WeightSource& source, int64_t first, int64_t n, const Format& format, CarryLoss& loss,
                std::byte* blocks);

// A head's key rows first .. first + dn of an FP8 kv_b [.., r] -> the transposed rows' blocks [r, dn / 128].
void carry_transposed(const WeightSource& source, int64_t first, int64_t dn, std::byte* blocks);

}  // namespace hearth
