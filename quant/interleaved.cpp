#include "quant/interleaved.h"

#include <algorithm>
#include <cstring>

#include "quant/codebooks.h"
#include "quant/fp.h"

namespace hearth {

// Of one row of a group: where its bits lie, block by block.
class Moves {
 public:
  Moves(std::vector<Interleaved::Move>& to, int row) : k(row), to_(to) {}

  // So many bits from a bit of an interleaved byte to a bit of a plain one.
  void bits(int count, int from, int from_shift, int to, int to_shift) {
    to_.push_back({uint16_t(from), uint16_t(to), uint8_t(from_shift), uint8_t(to_shift), uint8_t((1 << count) - 1)});
  }
  void byte(int from, int to) { bits(8, from, 0, to, 0); }
  void half(int from, int to) { byte(from, to), byte(from + 1, to + 1); }

  const int k;  // the row

 private:
  std::vector<Interleaved::Move>& to_;
};

namespace {

// ---- Where weight j of 32 lies: four neighbours of one row are together, then those of the next row.

// A byte of nibbles has weights that are eight apart; 64 bytes have 32 weights of four rows.
struct Place {
  int byte, shift;
};
Place nibble(int k, int j) {
  return {16 * (j / 16 + 2 * (j / 4 % 2)) + 4 * k + j % 4, 4 * (j / 8 % 2)};
}
// Two bits each, in 32 bytes.
Place pair(int k, int j) {
  return {16 * (j / 16) + 4 * k + j % 4, 2 * (j / 4 % 4)};
}
// A bit each, in 16 bytes; which bit differs by format.
int bit_byte(int k, int j) {
  return 4 * k + j % 4;
}

// ---- Where plain formats have them: weight i of 256.

Place k_nibble(int i) {  // Q4_K, Q5_K
  return {i / 64 * 32 + i % 32, 4 * (i / 32 % 2)};
}
Place k_pair(int i) {  // Q2_K, Q3_K and ik's
  return {i / 128 * 32 + i % 32, 2 * (i / 32 % 4)};
}
Place iq4_nibble(int i) {  // of 32 each, halves beside each other
  return {i / 32 * 16 + i % 16, 4 * (i / 16 % 2)};
}

void halves(Moves& m, int to) {  // the d of each row, in front
  m.half(2 * m.k, to);
}

// ---- Blocks of 32

void q4_0_r8(Moves& m) {
  halves(m, 0);
  for (int b = 0; b < 16; ++b) m.byte(16 + 32 * (b / 4) + 4 * m.k + b % 4, 2 + b);
}
void q8_0_r8(Moves& m) {
  halves(m, 0);
  for (int b = 0; b < 32; ++b) m.byte(16 + 32 * (b / 4) + 4 * m.k + b % 4, 2 + b);
}
void q5_0_r4(Moves& m) {
  halves(m, 0);
  for (int j = 0; j < 32; ++j) {
    const Place from = nibble(m.k, j);
    m.bits(4, 24 + from.byte, from.shift, 6 + j % 16, 4 * (j / 16));
    m.bits(1, 8 + bit_byte(m.k, j), j / 16 + 2 * (j / 4 % 2) + 4 * (j / 8 % 2), 2 + j / 8, j % 8);
  }
}
void iq4_nl_r4(Moves& m) {
  halves(m, 0);
  for (int j = 0; j < 32; ++j) {
    const Place from = nibble(m.k, j);
    m.bits(4, 8 + from.byte, from.shift, 2 + j % 16, 4 * (j / 16));
  }
}

// ---- Blocks of 256

void q2_k_r4(Moves& m) {
  m.half(2 * m.k, 80), m.half(8 + 2 * m.k, 82);
  for (int group = 0; group < 16; ++group) m.byte(16 + 4 * group + m.k, group);
  for (int i = 0; i < 256; ++i) {
    const Place from = pair(m.k, i % 32), to = k_pair(i);
    m.bits(2, 80 + i / 32 * 32 + from.byte, from.shift, 16 + to.byte, to.shift);
  }
}
void q3_k_r4(Moves& m) {
  halves(m, 108);
  for (int group = 0; group < 16; ++group) {  // scales of six bits
    const int at = 4 * group + m.k;
    m.bits(4, 24 + at % 32, 4 * (at / 32), 96 + group % 8, 4 * (group / 8));
    m.bits(2, 8 + at % 16, 2 * (at / 16), 104 + group % 4, 2 * (group / 4));
  }
  for (int i = 0; i < 256; ++i) {
    const int j = i % 32, unit = i / 32;
    const Place from = pair(m.k, j), to = k_pair(i);
    m.bits(2, 184 + 32 * unit + from.byte, from.shift, 32 + to.byte, to.shift);
    m.bits(1, 56 + 16 * unit + bit_byte(m.k, j), j / 4, j, unit);
  }
}
// The scales and minimums of six bits of Q4_K and Q5_K.
void six_bit_scales(Moves& m) {
  m.half(2 * m.k, 0), m.half(8 + 2 * m.k, 2);
  for (int g = 0; g < 8; ++g) {
    const int at = 4 * g + m.k, low = 32 + at, high = 16 + at % 16, shift = 4 * (at / 16), scales = 4;
    if (g < 4) {
      m.bits(4, low, 0, scales + g, 0), m.bits(2, high, shift, scales + g, 4);
      m.bits(4, low, 4, scales + g + 4, 0), m.bits(2, high, shift + 2, scales + g + 4, 4);
    } else {
      m.bits(4, low, 0, scales + g + 4, 0), m.bits(2, high, shift, scales + g - 4, 6);
      m.bits(4, low, 4, scales + g + 4, 4), m.bits(2, high, shift + 2, scales + g, 6);
    }
  }
}
void q4_k_r4(Moves& m) {
  six_bit_scales(m);
  for (int i = 0; i < 256; ++i) {
    const Place from = nibble(m.k, i % 32), to = k_nibble(i);
    m.bits(4, 64 + i / 32 * 64 + from.byte, from.shift, 16 + to.byte, to.shift);
  }
}
void q5_k_r4(Moves& m) {
  six_bit_scales(m);
  for (int i = 0; i < 256; ++i) {
    const int j = i % 32, unit = i / 32;
    const Place from = nibble(m.k, j), to = k_nibble(i);
    m.bits(4, 192 + 64 * unit + from.byte, from.shift, 48 + to.byte, to.shift);
    m.bits(1, 64 + 16 * unit + bit_byte(m.k, j), 4 * (j / 16) + j / 8 % 2 + 2 * (j / 4 % 2), 16 + j, unit);
  }
}
void q6_k_r4(Moves& m) {
  halves(m, 208);
  for (int group = 0; group < 16; ++group) m.byte(8 + 4 * group + m.k, 192 + group);
  for (int i = 0; i < 256; ++i) {
    const int j = i % 32, unit = i / 32;
    const Place from = nibble(m.k, j);
    m.bits(4, 328 + 64 * unit + from.byte, from.shift, i / 128 * 64 + i % 64, 4 * (i / 64 % 2));
    m.bits(2, 72 + 32 * unit + 16 * (j / 16) + bit_byte(m.k, j), 2 * (j / 8 % 2) + 4 * (j / 4 % 2),
           128 + i / 128 * 32 + j, 2 * (unit % 4));
  }
}
void iq4_xs_r8(Moves& m) {
  halves(m, 0);
  for (int g = 0; g < 8; ++g) {
    const int at = 8 * g + m.k;
    m.bits(4, 32 + at % 32, 4 * (at / 32), 4 + g / 2, 4 * (g % 2));
    m.bits(2, 16 + at % 16, 2 * (at / 16), 2 + g / 4, 2 * (g % 4));
  }
  for (int i = 0; i < 256; ++i) {
    const int j = i % 32;
    const Place to = iq4_nibble(i);
    m.bits(4, 64 + i / 32 * 128 + 32 * (j / 8 % 2 + 2 * (j / 16)) + 4 * m.k + j % 4, 4 * (j / 4 % 2), 8 + to.byte,
           to.shift);
  }
}

// Seven signs s of eight are stored as those bits o for which s[i] = o[i] xor o[i - 1].
void signs(Moves& m, int from, int from_shift, int to_bit) {
  for (int i = 0; i < 7; ++i) {
    const int to = to_bit + i;
    m.bits(1, from, from_shift + i, to / 8, to % 8);
    if (i > 0) m.bits(1, from, from_shift + i - 1, to / 8, to % 8);
  }
}
// Signs and scales of IQ2_XXS and IQ3_XXS: a bit of the scale and seven signs in each of four bytes.
void sign_word(Moves& m, int from, int to) {
  for (int b = 0; b < 4; ++b) {
    m.bits(1, from + b, 0, to + 3, 4 + b);
    signs(m, from + b, 1, 8 * to + 7 * b);
  }
}
void iq2_xxs_r4(Moves& m) {
  halves(m, 0);
  for (int g = 0; g < 8; ++g) {
    for (int b = 0; b < 4; ++b) m.byte(136 + 16 * g + 4 * m.k + b, 2 + 8 * g + b);
    sign_word(m, 8 + 4 * (4 * g + m.k), 6 + 8 * g);
  }
}
void iq3_xxs_r4(Moves& m) {
  halves(m, 0);
  for (int g = 0; g < 8; ++g) {
    for (int b = 0; b < 8; ++b) m.byte(136 + 32 * g + 8 * m.k + b, 2 + 8 * g + b);
    sign_word(m, 8 + 4 * (4 * g + m.k), 66 + 4 * g);
  }
}
void iq2_xs_r4(Moves& m) {
  halves(m, 0);
  for (int g = 0; g < 8; ++g) {
    m.byte(264 + 4 * g + m.k, 66 + g);
    for (int b = 0; b < 4; ++b) {
      const int from = 8 + 2 * (16 * g + 4 * m.k + b), to = 2 + 2 * (4 * g + b);
      m.byte(from, to), m.bits(1, from + 1, 0, to + 1, 0);
      signs(m, from + 1, 1, 8 * to + 9);
    }
  }
}
void iq2_s_r4(Moves& m) {
  halves(m, 0);
  for (int g = 0; g < 8; ++g) {
    m.byte(136 + 4 * g + m.k, 66 + g), m.byte(296 + 4 * g + m.k, 74 + g);
    for (int b = 0; b < 4; ++b) {
      const int at = 16 * g + 4 * m.k + b;
      m.byte(8 + at, 2 + 4 * g + b), m.byte(168 + at, 34 + 4 * g + b);
    }
  }
}
void iq3_s_r4(Moves& m) {
  halves(m, 0);
  for (int g = 0; g < 8; ++g) {
    const int scale = 4 * g + m.k;
    m.bits(4, 424 + scale % 16, 4 * (scale / 16), 106 + g / 2, 4 * (g % 2));
    m.byte(264 + 4 * g + m.k, 66 + g);
    for (int b = 0; b < 8; ++b) m.byte(8 + 32 * g + m.k + 8 * (b % 4) + 4 * (b / 4), 2 + 8 * g + b);
    for (int j = 0; j < 32; ++j) {  // bit i of signs: of weights i, 4 + i, 8 + i ...
      m.bits(1, 296 + 16 * g + bit_byte(m.k, j), j / 4, 74 + 4 * g + j / 8, j % 8);
    }
  }
}
// Its header, a half for each row, is IQ1_S's d of each block.
void iq1_s_r4(Moves& m) {
  for (int g = 0; g < 8; ++g) {
    for (int b = 0; b < 4; ++b) m.byte(24 * g + 4 * b + m.k, 2 + 4 * g + b);
    m.half(24 * g + 16 + 2 * m.k, 34 + 2 * g);
  }
}

// ik's own. Bit g of extra[k] is of the first 16 weights of unit g, of extra[4 + k] of the last.
void extra(Moves& m, int to) {
  for (int group = 0; group < 16; ++group) {
    m.bits(1, 8 + m.k + 4 * (group % 2), group / 2, to + group / 8, group % 8);
  }
}
// A nibble for each 16 weights.
void scale_nibbles(Moves& m, int from, int to) {
  for (int group = 0; group < 16; ++group) {
    const int at = 4 * group + m.k;
    m.bits(4, from + at % 32, 4 * (at / 32), to + group / 2, 4 * (group % 2));
  }
}
void ik_pairs(Moves& m, int from, int to) {
  for (int i = 0; i < 256; ++i) {
    const Place place = pair(m.k, i % 32), plain = k_pair(i);
    m.bits(2, from + i / 32 * 32 + place.byte, place.shift, to + plain.byte, plain.shift);
  }
}
void iq2_k_r4(Moves& m) {
  halves(m, 0), extra(m, 2), scale_nibbles(m, 16, 4), ik_pairs(m, 48, 12);
}
void iq3_k_r4(Moves& m) {
  halves(m, 0), extra(m, 2), scale_nibbles(m, 24, 6), ik_pairs(m, 56, 14);
  for (int group = 0; group < 16; ++group) {
    const int at = 4 * group + m.k;
    m.bits(1, 16 + at % 8, at / 8, 4 + group / 8, group % 8);
  }
  for (int i = 0; i < 256; ++i) {
    const int j = i % 32;
    m.bits(1, 312 + i / 32 * 16 + bit_byte(m.k, j), j / 4, 78 + j, i / 32);
  }
}
// Two bits of the scale of each 16 weights.
void scale_pairs(Moves& m, int from, int to) {
  for (int group = 0; group < 16; ++group) {
    const int at = 4 * group + m.k;
    m.bits(2, from + at % 16, 2 * (at / 16), to + group / 4, 2 * (group % 4));
  }
}
void iq4_nibbles(Moves& m, int from, int to) {
  for (int i = 0; i < 256; ++i) {
    const Place place = nibble(m.k, i % 32), plain = iq4_nibble(i);
    m.bits(4, from + i / 32 * 64 + place.byte, place.shift, to + plain.byte, plain.shift);
  }
}
void iq5_levels(Moves& m, int from, int from_high, int to, int to_high) {
  for (int i = 0; i < 256; ++i) {
    const int j = i % 32, unit = i / 32;
    const Place place = nibble(m.k, j), plain = k_nibble(i);
    m.bits(4, from + 64 * unit + place.byte, place.shift, to + plain.byte, plain.shift);
    m.bits(1, from_high + 16 * unit + bit_byte(m.k, j), j / 8 + 4 * (j / 4 % 2), to_high + j, unit);
  }
}
void iq4_k_r4(Moves& m) {
  halves(m, 0), extra(m, 2), scale_pairs(m, 16, 4), scale_nibbles(m, 32, 8), iq4_nibbles(m, 64, 16);
}
void iq5_k_r4(Moves& m) {
  halves(m, 0), extra(m, 2), scale_pairs(m, 16, 4), scale_nibbles(m, 32, 8), iq5_levels(m, 64, 576, 16, 144);
}
void iq4_ks_r4(Moves& m) {
  for (int g = 0; g < 8; ++g) m.byte(4 * g + m.k, g);
  iq4_nibbles(m, 32, 8);
}
void iq5_ks_r4(Moves& m) {
  for (int g = 0; g < 8; ++g) m.byte(4 * g + m.k, g);
  iq5_levels(m, 32, 544, 8, 136);
}

// Two weights of each of 16 rows; a plain block is one.
void bf16_r16(Moves& m) {
  m.half(4 * m.k, 0), m.half(4 * m.k + 2, 2);
}

constexpr uint32_t kIq1MR4 = 229;
// A half for each row, then for each 32 weights qs [16], qh [8], scales [4].
void decode_iq1_m_r4(const std::byte* group, int64_t n, float* rows) {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(group);
  for (int k = 0; k < 4; ++k) {
    uint16_t half;
    std::memcpy(&half, bytes + 2 * k, 2);
    const float d = fp16_to_float(half);
    for (int64_t unit = 0; unit < n / 32; ++unit) {
      const uint8_t* const p = bytes + 8 + 28 * unit;
      for (int m = 0; m < 4; ++m, rows += 8) {  // of eight weights
        const int high = p[16 + 4 * (m / 2) + k] >> 4 * (m % 2) & 15, index = p[4 * m + k] | (high & 7) << 8;
        const float step = d * float(p[24 + k] >> 4 * (m / 2) & 15);
        const int shift = high & 8 ? -1 : 1;
        for (int i = 0; i < 8; ++i) {
          rows[i] = step * (float(codebook::coordinate<codebook::Iq1>(index, i) + shift) * 0.125f);
        }
      }
    }
  }
}

struct InterleavedLayout {
  uint32_t type, plain;  // GGUF type numbers
  int rows;
  uint32_t header_bytes;  // of each interleaved row
  uint32_t unit_bytes;
  void (*moves)(Moves&);
};
constexpr InterleavedLayout kInterleavedLayouts[] = {
    {202, 2, 8, 0, 18, q4_0_r8},      {206, 6, 4, 0, 22, q5_0_r4},      {208, 8, 8, 0, 34, q8_0_r8},
    {210, 10, 4, 0, 84, q2_k_r4},     {211, 11, 4, 0, 110, q3_k_r4},    {212, 12, 4, 0, 144, q4_k_r4},
    {213, 13, 4, 0, 176, q5_k_r4},    {214, 14, 4, 0, 210, q6_k_r4},    {216, 16, 4, 0, 66, iq2_xxs_r4},
    {217, 17, 4, 0, 74, iq2_xs_r4},   {218, 18, 4, 0, 98, iq3_xxs_r4},  {219, 19, 4, 2, 50, iq1_s_r4},
    {220, 20, 4, 0, 18, iq4_nl_r4},   {221, 21, 4, 0, 110, iq3_s_r4},   {222, 22, 4, 0, 82, iq2_s_r4},
    {223, 23, 8, 0, 136, iq4_xs_r8},  {230, 30, 16, 0, 4, bf16_r16},    {337, 137, 4, 0, 76, iq2_k_r4},
    {338, 138, 4, 0, 110, iq3_k_r4},  {339, 139, 4, 0, 144, iq4_k_r4},  {340, 140, 4, 0, 176, iq5_k_r4},
    {344, 144, 4, 4, 136, iq4_ks_r4}, {352, 152, 4, 4, 168, iq5_ks_r4},
};

}  // namespace

std::unique_ptr<Interleaved> Interleaved::of(uint32_t type) {
  if (type == kIq1MR4) {
    auto made = std::make_unique<Interleaved>();
    made->plain_ = &format_of(FormatId::f32);
    made->rows_ = 4;
    return made;
  }
  const auto layout = std::ranges::find(kInterleavedLayouts, type, &InterleavedLayout::type);
  if (layout == std::end(kInterleavedLayouts)) return nullptr;
  const Format* plain = find_format(layout->plain);
  if (!plain) return nullptr;
  auto made = std::make_unique<Interleaved>();
  made->plain_ = plain;
  made->rows_ = layout->rows;
  made->header_bytes_ = layout->header_bytes;
  made->unit_bytes_ = layout->unit_bytes;
  for (int k = 0; k < layout->rows; ++k) {
    Moves moves(made->moves_.emplace_back(), k);
    layout->moves(moves);
  }
  return made;
}

bool Interleaved::fits(int64_t cols) const {
  if (moves_.empty()) return cols > 0 && cols % 32 == 0;
  return plain_->fits(cols) && (plain_->bytes(cols) - plain_->row_header) % unit_bytes_ == 0;
}

void Interleaved::take_apart(const std::byte* group, int64_t n, std::byte* rows) const {
  if (moves_.empty()) return decode_iq1_m_r4(group, n, reinterpret_cast<float*>(rows));
  const size_t row_bytes = plain_->bytes(n), n_units = (row_bytes - plain_->row_header) / unit_bytes_;
  // A row's header becomes the plain row's, or the beginning of each of its blocks.
  const size_t in_unit = header_bytes_ - plain_->row_header, group_bytes = size_t(rows_) * (unit_bytes_ - in_unit);
  const std::byte* const units = group + size_t(rows_) * header_bytes_;
  std::memset(rows, 0, size_t(rows_) * row_bytes);
  for (size_t k = 0; k < size_t(rows_); ++k, rows += row_bytes) {
    const std::byte* const header = group + k * header_bytes_;
    std::memcpy(rows, header, plain_->row_header);
    std::byte* unit = rows + plain_->row_header;
    for (size_t i = 0; i < n_units; ++i, unit += unit_bytes_) {
      const std::byte* const from = units + i * group_bytes;
      for (const Move& move : moves_[k]) {
        unit[move.to] ^= (from[move.from] >> move.from_shift & std::byte(move.mask)) << move.to_shift;
      }
      std::memcpy(unit, header, in_unit);
    }
  }
}

}  // namespace hearth
