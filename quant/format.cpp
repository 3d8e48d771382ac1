#include "quant/format.h"

#include <cassert>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "quant/decode.h"
#include "quant/encode.h"
#include "quant/finite.h"

namespace hearth {
namespace {

void decode_f32(const void* row, float* out, int64_t n) {
  memcpy(out, row, size_t(n) * sizeof(float));
}

void decode_f16(const void* row, float* out, int64_t n) {
  const auto* in = static_cast<const uint16_t*>(row);
  for (int64_t i = 0; i < n; ++i) out[i] = fp16_to_float(in[i]);
}

void decode_bf16(const void* row, float* out, int64_t n) {
  const auto* in = static_cast<const uint16_t*>(row);
  for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_float(in[i]);
}

template <class Block>
constexpr Format row(FormatId id, const char* name, float tolerance) {
  return {id,
          name,
          Block::kElems,
          sizeof(Block),
          decode_row<Block>,
          encode_row<Block>,
          finite_row<Block>,
          tolerance,
          uint32_t(kHeaderBytes<Block>)};
}

// Of a format that is not encoded.
template <class Block>
constexpr Format read_only_row(FormatId id, const char* name) {
  return {id,
          name,
          Block::kElems,
          sizeof(Block),
          decode_row<Block>,
          nullptr,
          finite_row<Block>,
          0,
          uint32_t(kHeaderBytes<Block>)};
}

// Tolerances: measured on Gaussian rows (docs/measurements.md, "Encoding error") and 5 % on top.
constexpr Format kFormats[] = {
    {FormatId::f32, "F32", 1, 4, decode_f32, encode_f32, finite_f32, 0.0f},
    {FormatId::f16, "F16", 1, 2, decode_f16, encode_f16, finite_f16, 0.00022f},
    row<BlockQ4_0>(FormatId::q4_0, "Q4_0", 0.085f),
    row<BlockQ4_1>(FormatId::q4_1, "Q4_1", 0.0724f),
    row<BlockQ5_0>(FormatId::q5_0, "Q5_0", 0.0421f),
    row<BlockQ5_1>(FormatId::q5_1, "Q5_1", 0.035f),
    row<BlockQ8_0>(FormatId::q8_0, "Q8_0", 0.00492f),
    row<BlockQ2_K>(FormatId::q2_k, "Q2_K", 0.2812f),
    row<BlockQ3_K>(FormatId::q3_k, "Q3_K", 0.151f),
    row<BlockQ4_K>(FormatId::q4_k, "Q4_K", 0.073f),
    row<BlockQ5_K>(FormatId::q5_k, "Q5_K", 0.0362f),
    row<BlockQ6_K>(FormatId::q6_k, "Q6_K", 0.0174f),
    row<BlockIQ2_XXS>(FormatId::iq2_xxs, "IQ2_XXS", 0.3632f),
    row<BlockIQ2_XS>(FormatId::iq2_xs, "IQ2_XS", 0.3112f),
    row<BlockIQ3_XXS>(FormatId::iq3_xxs, "IQ3_XXS", 0.1887f),
    row<BlockIQ1_S>(FormatId::iq1_s, "IQ1_S", 0.5216f),
    row<BlockIQ4_NL>(FormatId::iq4_nl, "IQ4_NL", 0.0772f),
    row<BlockIQ3_S>(FormatId::iq3_s, "IQ3_S", 0.1372f),
    row<BlockIQ2_S>(FormatId::iq2_s, "IQ2_S", 0.2578f),
    row<BlockIQ4_XS>(FormatId::iq4_xs, "IQ4_XS", 0.0778f),
    row<BlockIQ1_M>(FormatId::iq1_m, "IQ1_M", 0.4758f),
    {FormatId::bf16, "BF16", 1, 2, decode_bf16, encode_bf16, finite_bf16, 0.00174f},
    row<BlockTQ1_0>(FormatId::tq1_0, "TQ1_0", 0.4558f),
    row<BlockTQ2_0>(FormatId::tq2_0, "TQ2_0", 0.4558f),
    row<BlockMXFP4>(FormatId::mxfp4, "MXFP4", 0.1168f),
    row<BlockNVFP4>(FormatId::nvfp4, "NVFP4", 0.0932f),
    read_only_row<BlockIQ2_K>(FormatId::iq2_k, "IQ2_K"),
    read_only_row<BlockIQ3_K>(FormatId::iq3_k, "IQ3_K"),
    read_only_row<BlockIQ4_K>(FormatId::iq4_k, "IQ4_K"),
    read_only_row<BlockIQ5_K>(FormatId::iq5_k, "IQ5_K"),
    read_only_row<BlockIQ6_K>(FormatId::iq6_k, "IQ6_K"),
    read_only_row<BlockIQ4_KS>(FormatId::iq4_ks, "IQ4_KS"),
    read_only_row<BlockIQ2_KS>(FormatId::iq2_ks, "IQ2_KS"),
    read_only_row<BlockIQ5_KS>(FormatId::iq5_ks, "IQ5_KS"),
    read_only_row<BlockIQ3_KS>(FormatId::iq3_ks, "IQ3_KS"),
    row<BlockF8_E4M3>(FormatId::f8_e4m3, "F8_E4M3", 0.0237f),
    row<BlockI4_G128>(FormatId::i4_g128, "I4_G128", 0.1017f),
};

constexpr Format listed(uint32_t type, const char* name, uint32_t block_elems = 0, uint32_t block_bytes = 0,
                        uint32_t row_header = 0) {
  return {FormatId(type), name, block_elems, block_bytes, nullptr, nullptr, nullptr, 0, row_header};
}

// What other programs write: number, name, weights and bytes of a block, bytes before a row. Names with _R are blocks
// of several rows interleaved, which take what the rows would take one by one.
constexpr Format kListed[] = {
    // ggml.
    listed(4, "Q4_2"),
    listed(5, "Q4_3"),
    listed(9, "Q8_1", 32, 36),
    listed(15, "Q8_K", 256, 292),
    listed(24, "I8", 1, 1),
    listed(25, "I16", 1, 2),
    listed(26, "I32", 1, 4),
    listed(27, "I64", 1, 8),
    listed(28, "F64", 1, 8),
    listed(31, "Q4_0_4_4", 32, 18),
    listed(32, "Q4_0_4_8", 32, 18),
    listed(33, "Q4_0_8_8", 32, 18),
    listed(37, "IQ4_NL_4_8", 32, 18),
    listed(38, "IQ4_NL_8_8", 32, 18),
    listed(41, "Q1_0", 128, 18),
    listed(42, "Q2_0", 64, 18),
    // ik_llama.cpp. An I2_S is no sum of rows.
    listed(36, "I2_S"),
    listed(133, "Q6_0", 32, 26),
    listed(134, "IQ1_BN", 64, 13, 2),
    listed(135, "IQ2_BN", 64, 16, 4),
    listed(136, "Q8_K64", 64, 68),
    listed(146, "IQ4_KSS", 256, 128, 4),
    listed(151, "Q8_KV", 32, 32, 8),
    listed(153, "IQ2_KT", 256, 68, 4),
    listed(154, "IQ3_KT", 256, 100, 4),
    listed(155, "IQ4_KT", 256, 128, 4),
    listed(157, "IQ2_KL", 256, 86, 2),
    listed(158, "IQ1_KT", 256, 56, 4),
    listed(202, "Q4_0_R8", 32, 18),
    listed(206, "Q5_0_R4", 32, 22),
    listed(208, "Q8_0_R8", 32, 34),
    listed(210, "Q2_K_R4", 256, 84),
    listed(211, "Q3_K_R4", 256, 110),
    listed(212, "Q4_K_R4", 256, 144),
    listed(213, "Q5_K_R4", 256, 176),
    listed(214, "Q6_K_R4", 256, 210),
    listed(216, "IQ2_XXS_R4", 256, 66),
    listed(217, "IQ2_XS_R4", 256, 74),
    listed(218, "IQ3_XXS_R4", 256, 98),
    listed(219, "IQ1_S_R4", 32, 6, 2),
    listed(220, "IQ4_NL_R4", 32, 18),
    listed(221, "IQ3_S_R4", 256, 110),
    listed(222, "IQ2_S_R4", 256, 82),
    listed(223, "IQ4_XS_R8", 256, 136),
    listed(229, "IQ1_M_R4", 32, 7, 2),
    listed(230, "BF16_R16", 1, 2),
    listed(233, "Q6_0_R4", 32, 26),
    listed(335, "IQ2_BN_R4", 64, 16, 4),
    listed(337, "IQ2_K_R4", 256, 76),
    listed(338, "IQ3_K_R4", 256, 110),
    listed(339, "IQ4_K_R4", 256, 144),
    listed(340, "IQ5_K_R4", 256, 176),
    listed(344, "IQ4_KS_R4", 256, 136, 4),
    listed(352, "IQ5_KS_R4", 256, 168, 4),
    listed(353, "MXFP4_R8", 32, 17),
    listed(397, "Q8_K_R16", 256, 258),
    listed(398, "Q8_KV_R8", 32, 32, 4),
    listed(399, "Q8_K_R8", 256, 258),
};

// Rows for numbers that no table has, made when one is met.
const Format& nameless_format(uint32_t type) {
  struct Nameless {
    std::string name;
    Format format;
  };
  static std::mutex mutex;
  static std::map<uint32_t, Nameless> met;
  const std::lock_guard lock(mutex);
  const auto [it, is_new] = met.try_emplace(type);
  if (is_new) {
    it->second.name = "type " + std::to_string(type);
    it->second.format = listed(type, it->second.name.c_str());
  }
  return it->second.format;
}

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

const Format& listed_format(uint32_t gguf_type) {
  if (const Format* format = find_format(gguf_type)) return *format;
  for (const Format& f : kListed) {
    if (uint32_t(f.id) == gguf_type) return f;
  }
  return nameless_format(gguf_type);
}

}  // namespace hearth
