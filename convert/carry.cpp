#include "convert/carry.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "convert/source_rows.h"
#include "quant/blocks.h"
#include "quant/encode.h"
#include "quant/error.h"
#include "quant/fp.h"

namespace hearth {

namespace {

constexpr int64_t kFp8Block = BlockF8_E4M3::kElems;

// ---- FP8: F8_E4M3 has a scale for 128 weights.

// Whether each run of 128 weights along a row has one scale; then the same down a column.
bool scales_follow_rows(const WeightSource& source) {
  return source.scale_cols % kFp8Block == 0 || source.scale_cols >= source.cols();
}
bool scales_follow_columns(const WeightSource& source) {
  return source.scale_rows % kFp8Block == 0 || source.scale_rows >= source.rows();
}

bool carries_fp8(const WeightSource& source, const OutputTensor& tensor) {
  if (tensor.transform != Transform::k_part) return scales_follow_rows(source);
  // A row of the transposed part runs down a column of the source. Each of its blocks has one scale if the whole weight
  // has one, or if every head begins at a multiple of 128 rows (V3: 128 + 128 rows a head).
  const int64_t head_rows = source.rows() / tensor.shape.dim[0];
  return scales_follow_columns(source) && (source.scale_rows >= source.rows() || head_rows % kFp8Block == 0);
}

bool is_e4m3_nan(uint8_t q) {
  return (q & 0x7f) == 0x7f;
}

// One block of a row of the file, with the checkpoint's codes and scale.
BlockF8_E4M3 fp8_block(const WeightSource& source, int64_t row, int64_t col, const uint8_t (&q)[kFp8Block]) {
  const float scale = scale_at(source, row, col);
  require(std::isfinite(scale), ErrorKind::format, "{}: expected finite scales, found {} for block [{}, {}]",
          source.scale->place(), scale, row / source.scale_rows, col / source.scale_cols);
  return f8_e4m3_block(q, scale);
}

void carry_fp8_row(const WeightSource& source, int64_t row, std::byte* blocks) {
  const auto* q = reinterpret_cast<const uint8_t*>(row_bytes(*source.weight, row, 1).data());
  for (int64_t begin = 0; begin < source.cols(); begin += kFp8Block) {
    uint8_t part[kFp8Block];
    std::memcpy(part, q + begin, kFp8Block);
    for (int64_t j = 0; j < kFp8Block; ++j) {
      if (is_e4m3_nan(part[j])) refuse_weight(*source.weight, row, begin + j, NAN);
    }
    const BlockF8_E4M3 block = fp8_block(source, row, begin, part);
    std::memcpy(blocks, &block, sizeof block);
    blocks += sizeof block;
  }
}

// ---- Integers.

bool carries_codes(const CodedWeight& w, const Format& format) {
  const bool one_group_a_block = w.n_groups == 1 || w.group_size % format.block_elems == 0;
  if (w.group_index || !one_group_a_block) return false;
  const bool symmetric = w.zero_layout == ZeroLayout::none;
  switch (format.id) {
    case FormatId::i4_g128:
    case FormatId::q4_0:
      return w.bits == 4 && symmetric;
    case FormatId::q4_1:
    case FormatId::f8_e4m3:
      return w.bits == 4;
    case FormatId::q8_0:
      return w.bits == 4 || symmetric;
    default:
      return false;
  }
}

// The F16 nearest to a scale or an offset of a block.
uint16_t half_of(float value, const CodedWeight& w, int64_t row) {
  const uint16_t half = float_to_fp16(value);
  require(std::isfinite(fp16_to_float(half)), ErrorKind::format,
          "{}: the scale of a group in row {} is too large for F16 (65504): found {}; recipes bf16 and f32 hold it",
          w.scales->place(), row, value);
  return half;
}

// The two halves of a byte: weights i and i + n / 2 of a block.
void pack_halves(const uint8_t* q, int64_t n, uint8_t flip, uint8_t* out) {
  for (int64_t i = 0; i < n / 2; ++i) out[i] = uint8_t((q[i] ^ flip) | (q[i + n / 2] ^ flip) << 4);
}

// What a block makes of a code: a * code + b.
struct Line {
  double a = 0, b = 0;
};

// Writes one block of a format that holds these codes (carries_codes).
Line put_block(const Format& format, const CodedWeight& w, int64_t row, const CodeGroup& group, const uint8_t* q,
               std::byte* out) {
  const auto place = [&](const auto& block) { std::memcpy(out, &block, sizeof block); };
  const double scale = group.scale;
  if (format.id == FormatId::f8_e4m3) {
    uint8_t codes[kFp8Block];
    for (int64_t i = 0; i < kFp8Block; ++i) codes[i] = float_to_e4m3(float(q[i] - group.zero));
    place(f8_e4m3_block(codes, group.scale));
    return {scale, -scale * group.zero};
  }
  const uint16_t d = half_of(group.scale, w, row);
  const double rounded = fp16_to_float(d);
  switch (format.id) {
    case FormatId::i4_g128: {
      BlockI4_G128 block{};
      block.d = d;
      pack_halves(q, BlockI4_G128::kElems, 8, block.qs);  // from excess 8 to two's complement
      place(block);
      return {rounded, -rounded * 8};
    }
    case FormatId::q4_0: {
      BlockQ4_0 block{};
      block.d = d;
      pack_halves(q, BlockQ4_0::kElems, 0, block.qs);
      place(block);
      return {rounded, -rounded * 8};
    }
    case FormatId::q4_1: {
      BlockQ4_1 block{};
      block.d = d;
      block.m = half_of(-group.scale * float(group.zero), w, row);
      pack_halves(q, BlockQ4_1::kElems, 0, block.qs);
      place(block);
      return {rounded, fp16_to_float(block.m)};
    }
    default: {
      BlockQ8_0 block{};
      block.d = d;
      for (int i = 0; i < BlockQ8_0::kElems; ++i) block.qs[i] = int8_t(q[i] - group.zero);
      place(block);
      return {rounded, -rounded * group.zero};
    }
  }
}

void carry_codes(const CodedWeight& w, int64_t first, int64_t n, const Format& format, CarryLoss& loss,
                 std::byte* blocks) {
  std::vector<uint8_t> codes(size_t(n * w.cols));
  std::vector<CodeGroup> groups(size_t(w.n_groups), CodeGroup{});
  w.read_codes(first, n, codes.data());
  int64_t rounded = 0;
  double error = 0, square = 0;
  for (int64_t r = 0; r < n; ++r) {
    w.read_groups(first + r, groups.data());
    for (int64_t c = 0; c < w.cols; c += format.block_elems, blocks += format.block_bytes) {
      const CodeGroup& group = groups[size_t(w.n_groups == 1 ? 0 : c / w.group_size)];
      const uint8_t* const q = codes.data() + r * w.cols + c;
      const Line is = put_block(format, w, first + r, group, q, blocks);
      const Line meant = {group.scale, -double(group.scale) * group.zero};
      if (is.a == meant.a && is.b == meant.b) continue;
      ++rounded;
      for (int64_t i = 0; i < int64_t(format.block_elems); ++i) {
        const double value = meant.a * q[i] + meant.b, off = is.a * q[i] + is.b - value;
        error += off * off;
        square += value * value;
      }
    }
  }
  loss.blocks += n * (w.cols / format.block_elems);
  loss.rounded += rounded;
  loss.error += error;
  loss.square += square;
}

// The type whose rounding the checkpoint's own programs give a weight.
FormatId own_type(const WeightSource& source) {
  if (!source.quantized()) return source.weight->dtype->format->id;
  const SourceTensor& scales = source.coded ? *source.coded->scales : *source.scale;
  const bool f16 = scales.dtype->format && scales.dtype->format->id == FormatId::f16;
  return f16 ? FormatId::f16 : FormatId::bf16;
}

}  // namespace

double CarryLoss::relative_error() const {
  return square > 0 ? std::sqrt(error / square) : 0;
}

bool carries(const OutputTensor& tensor, const Format& format) {
  return std::ranges::all_of(tensor.sources, [&](const WeightSource& source) {
    if (source.coded) return tensor.transform != Transform::k_part && carries_codes(*source.coded, format);
    return format.id == FormatId::f8_e4m3 && source.weight->dtype->fp8 && carries_fp8(source, tensor);
  });
}

const Format& kept_format(const OutputTensor& tensor) {
  if (tensor.role == Role::vector) return format_of(FormatId::f32);
  using enum FormatId;
  for (const FormatId id : {i4_g128, q4_0, q4_1, f8_e4m3, q8_0}) {  // from small to large
    const Format& format = format_of(id);
    if (format.fits(tensor.shape.cols()) && carries(tensor, format)) return format;
  }
  const FormatId own = own_type(tensor.sources.front());
  const bool all = std::ranges::all_of(tensor.sources, [&](auto& source) { return own_type(source) == own; });
  return format_of(all ? own : f32);
}

void carry_rows(const WeightSource& source, int64_t first, int64_t n, const Format& format, CarryLoss& loss,
                std::byte* blocks) {
  if (source.coded) return carry_codes(*source.coded, first, n, format, loss, blocks);
  for (int64_t i = 0; i < n; ++i) carry_fp8_row(source, first + i, blocks + size_t(i) * format.bytes(source.cols()));
}

void carry_transposed(const WeightSource& source, int64_t first, int64_t dn, std::byte* blocks) {
  const int64_t r = source.cols();
  const auto* q = reinterpret_cast<const uint8_t*>(row_bytes(*source.weight, first, dn).data());
  for (int64_t c = 0; c < r; ++c) {
    for (int64_t begin = 0; begin < dn; begin += kFp8Block) {
      uint8_t column[kFp8Block];
      for (int64_t i = 0; i < kFp8Block; ++i) {
        column[i] = q[(begin + i) * r + c];
        if (is_e4m3_nan(column[i])) refuse_weight(*source.weight, first + begin + i, c, NAN);
      }
      const BlockF8_E4M3 block = fp8_block(source, first + begin, c, column);
      std::memcpy(blocks, &block, sizeof block);
      blocks += sizeof block;
    }
  }
}

}  // namespace hearth
