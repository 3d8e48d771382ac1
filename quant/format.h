// THE table of formats: one row per way of storing weights. Sizes, names, decode, encode and the tolerated error are
// asked from it; nothing else in the project switches over formats (a fast backend keeps one decoder struct per row).
// A second table lists the formats that other programs write and this one does not compute: files with them can be
// looked at, checked and planned with, and are refused where they would have to run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace hearth {

// The values are GGUF's tensor type numbers, from 137 to 156 ik_llama.cpp's. The last two are ours, far outside ggml's
// range ('H' << 8 | n).
enum class FormatId : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq2_xxs = 16,
  iq2_xs = 17,
  iq3_xxs = 18,
  iq1_s = 19,
  iq4_nl = 20,
  iq3_s = 21,
  iq2_s = 22,
  iq4_xs = 23,
  iq1_m = 29,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39,
  nvfp4 = 40,
  iq2_k = 137,
  iq3_k = 138,
  iq4_k = 139,
  iq5_k = 140,
  iq6_k = 141,
  iq4_ks = 144,
  iq2_ks = 145,
  iq5_ks = 152,
  iq3_ks = 156,
  f8_e4m3 = 0x4801,
  i4_g128 = 0x4802,
};

struct Format {
  FormatId id;
  const char* name;      // as printed and as named in recipes: "Q4_K", "F8_E4M3"
  uint32_t block_elems;  // weights per block, along the row
  uint32_t block_bytes;
  // A row of n weights, n a multiple of block_elems, is row_header bytes and then n / block_elems blocks. The three
  // take it from its header on; where there is none, any blocks in a line are a row.
  //
  // row -> out [n]. Exact: the format's definition.
  void (*decode)(const void* row, float* out, int64_t n);
  // x [n] -> row. Searches for the scales with the least squared error, weighted by importance [n] (>= 0) unless that
  // is null. x must be finite; values beyond the format's range saturate. Deterministic. Null: files in this format are
  // read here, and not made.
  void (*encode)(const float* x, const float* importance, void* row, int64_t n);
  // Are all n weights numbers? Told from the scales, where those decide it.
  bool (*finite)(const void* row, int64_t n);
  float tolerance;          // largest accepted RMS(decode(encode(x)) - x) / RMS(x) for rows of Gaussian weights
  uint32_t row_header = 0;  // bytes before the blocks of a row (blocks.h: kHeaderBytes)

  bool computed() const { return decode != nullptr; }  // false: listed only, the functions above are null
  bool sized() const { return block_elems > 0; }       // false: nothing is known but the name
  double bits_per_weight() const { return 8.0 * block_bytes / block_elems; }
  bool fits(int64_t row) const { return row > 0 && row % block_elems == 0; }
  // Bytes of a row of n weights; n must be a multiple of block_elems.
  size_t bytes(int64_t n) const { return row_header + size_t(n / block_elems) * block_bytes; }
};

std::span<const Format> all_formats();             // those that are computed, in the order of their ids
const Format* find_format(uint32_t gguf_type);     // null: not computed here
const Format* find_format(std::string_view name);  // case-insensitive; null: not computed here
const Format& format_of(FormatId id);              // every FormatId has its row
// Of any number in a file: computed, listed, or unheard of and then named "type 999". Lives as long as the program.
const Format& listed_format(uint32_t gguf_type);

}  // namespace hearth
