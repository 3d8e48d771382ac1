// Formats of ik_llama.cpp whose rows are interleaved by four, eight or sixteen (names with _R4, _R8, _R16): the same
// bits as rows of a plain format have, in another order. Here they are put back in theirs, bit for bit; but for
// IQ1_M_R4, whose scales no plain format has, and which is decoded. Layouts after ik_llama.cpp,
// ggml/src/iqk/iqk_quantize.cpp (repack_*, dequantize_row_iq1_m_r4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "quant/format.h"

namespace hearth {

class Interleaved {
 public:
  // How the interleaved format `type` (a GGUF type number) becomes its plain one; null: it is no such format, or its
  // plain one is not computed here.
  static std::unique_ptr<Interleaved> of(uint32_t type);

  const Format& plain() const { return *plain_; }  // F32 of IQ1_M_R4
  // What a tensor is stored in whose format is to be kept: plain(), of IQ1_M_R4 the closest.
  const Format& kept() const { return moves_.empty() ? format_of(FormatId::iq1_m) : *plain_; }
  int rows() const { return rows_; }  // that are interleaved; a tensor has a multiple of them
  bool fits(int64_t cols) const;      // can rows of so many weights be taken apart?
  // group: rows() interleaved rows of n weights -> as many plain rows, one after the other.
  void take_apart(const std::byte* group, int64_t n, std::byte* rows) const;

 private:
  friend class Moves;
  // Some bits of one byte, to one byte. Where several meet they are added modulo 2.
  struct Move {
    uint16_t from, to;  // bytes, of the interleaved units and of the plain one
    uint8_t from_shift, to_shift, mask;
  };

  const Format* plain_ = nullptr;
  int rows_ = 0;
  uint32_t header_bytes_ = 0;             // of each interleaved row, all in front
  uint32_t unit_bytes_ = 0;               // of a plain row, which are made at a time
  std::vector<std::vector<Move>> moves_;  // of a unit, for each row
};

}  // namespace hearth
