#include "quant/format.h"

#include <cassert>
#include <cstring>

#include "quant/decode.h"
#include "quant/encode.h"
#include "quant/finite.h"

namespace hearth {
namespace {

void decode_f32(const void* blocks, float* out, int64_t n) {
  memcpy(out, blocks, size_t(n) * sizeof(float));
}

void decode_f16(const void* blocks, float* out, int64_t n) {
  const auto* in = static_cast<const uint16_t*>(blocks);
  for (int64_t i = 0; i < n; ++i) out[i] = fp16_to_float(in[i]);
}

void decode_bf16(const void* blocks, float* out, int64_t n) {
  const auto* in = static_cast<const uint16_t*>(blocks);
  for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_float(in[i]);
}

template <class Block>
void decode_blocks(const void* blocks, float* out, int64_t n) {
  const auto* in = static_cast<const Block*>(blocks);
  for (int64_t i = 0; i < n / Block::kElems; ++i) decode_block(in[i], out + i * Block::kElems);
}

using Encode = void(const float* x, const float* importance, void* blocks, int64_t n);

template <class Block>
constexpr Format row(FormatId id, const char* name, Encode* encode, float tolerance) {
  return {id, name, Block::kElems, sizeof(Block), decode_blocks<Block>, encode, finite_blocks<Block>, tolerance};
}

// Tolerances: measured on Gaussian rows (docs/measurements.md, "Encoding error") and 5 % on top.
constexpr Format kFormats[] = {
    {FormatId::f32, "F32", 1, 4, decode_f32, encode_f32, finite_f32, 0.0f},
    {FormatId::f16, "F16", 1, 2, decode_f16, encode_f16, finite_f16, 0.00022f},
    row<BlockQ4_0>(FormatId::q4_0, "Q4_0", encode_q4_0, 0.085f),
    row<BlockQ4_1>(FormatId::q4_1, "Q4_1", encode_q4_1, 0.0724f),
    row<BlockQ5_0>(FormatId::q5_0, "Q5_0", encode_q5_0, 0.0421f),
    row<BlockQ5_1>(FormatId::q5_1, "Q5_1", encode_q5_1, 0.035f),
    row<BlockQ8_0>(FormatId::q8_0, "Q8_0", encode_q8_0, 0.00492f),
    row<BlockQ2_K>(FormatId::q2_k, "Q2_K", encode_q2_k, 0.272f),
    row<BlockQ3_K>(FormatId::q3_k, "Q3_K", encode_q3_k, 0.151f),
    row<BlockQ4_K>(FormatId::q4_k, "Q4_K", encode_q4_k, 0.073f),
    row<BlockQ5_K>(FormatId::q5_k, "Q5_K", encode_q5_k, 0.0362f),
    row<BlockQ6_K>(FormatId::q6_k, "Q6_K", encode_q6_k, 0.0174f),
    row<BlockIQ4_NL>(FormatId::iq4_nl, "IQ4_NL", encode_iq4_nl, 0.0772f),
    row<BlockIQ4_XS>(FormatId::iq4_xs, "IQ4_XS", encode_iq4_xs, 0.0778f),
    {FormatId::bf16, "BF16", 1, 2, decode_bf16, encode_bf16, finite_bf16, 0.00174f},
    row<BlockF8_E4M3>(FormatId::f8_e4m3, "F8_E4M3", encode_f8_e4m3, 0.0237f),
    row<BlockI4_G128>(FormatId::i4_g128, "I4_G128", encode_i4_g128, 0.1017f),
};

// ggml's other numbers: known, so that a refusal can say what was found.
constexpr struct {
  uint32_t type;
  std::string_view name;
} kForeign[] = {
    {4, "Q4_2"},      {5, "Q4_3"},   {9, "Q8_1"},   {15, "Q8_K"},       {16, "IQ2_XXS"},    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},  {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"},      {24, "I8"},         {25, "I16"},
    {26, "I32"},      {27, "I64"},   {28, "F64"},   {29, "IQ1_M"},      {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"}, {34, "TQ1_0"}, {35, "TQ2_0"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"},
    {39, "MXFP4"},    {40, "NVFP4"}, {41, "Q1_0"},  {42, "Q2_0"},
};

char upper(char c) {
  return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c;
}

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (upper(a[i]) != upper(b[i])) return false;
  }
  return true;
}

}  // namespace

std::span<const Format> all_formats() {
  return kFormats;
}

const Format* find_format(uint32_t gguf_type) {
  for (const Format& f : kFormats) {
    if (uint32_t(f.id) == gguf_type) return &f;
  }
  return nullptr;
}

const Format* find_format(std::string_view name) {
  for (const Format& f : kFormats) {
    if (same_name(f.name, name)) return &f;
  }
  return nullptr;
}

const Format& format_of(FormatId id) {
  const Format* format = find_format(uint32_t(id));
  assert(format);
  return *format;
}

std::string_view foreign_format_name(uint32_t gguf_type) {
  for (const auto& f : kForeign) {
    if (f.type == gguf_type) return f.name;
  }
  return "";
}

}  // namespace hearth
