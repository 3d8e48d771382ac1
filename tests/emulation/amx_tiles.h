// The tile unit of AMX in AVX-512, for tests on processors without one: included before a file of kernels/cpu/amx, it
// takes the place of the tile intrinsics. It adds in the order of Intel's manual (TDPBF16PS, TDPBSSD, TDPBSUD). Like
// the unit, it works on the rows and bytes that the configuration gives a tile, and stops the program where they do not
// fit together or none was loaded.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace hearth::emulation {

struct Tiles {
  bool configured = false;
  int rows[8], bytes[8];
  alignas(64) uint8_t data[8][16][64];
};
inline thread_local Tiles tiles;

inline void require(bool good) {
  if (!good) std::abort();
}
inline void load_config(const void* config) {
  const uint8_t* p = static_cast<const uint8_t*>(config);
  require(p[0] == 1);
  for (int i = 0; i < 8; ++i) {
    uint16_t bytes;
    std::memcpy(&bytes, p + 16 + 2 * i, 2);
    tiles.bytes[i] = bytes;
    tiles.rows[i] = p[48 + i];
    require(bytes <= 64 && bytes % 4 == 0 && tiles.rows[i] <= 16);
  }
  std::memset(tiles.data, 0, sizeof tiles.data);
  tiles.configured = true;
}
inline void release() {
  tiles.configured = false;
}
inline void zero(int t) {
  require(tiles.configured);
  std::memset(tiles.data[t], 0, sizeof tiles.data[t]);
}
inline void load(int t, const void* from, int64_t stride) {
  zero(t);
  for (int i = 0; i < tiles.rows[t]; ++i) {
    std::memcpy(tiles.data[t][i], static_cast<const uint8_t*>(from) + i * stride, size_t(tiles.bytes[t]));
  }
}
inline void store(int t, void* to, int64_t stride) {
  require(tiles.configured);
  for (int i = 0; i < tiles.rows[t]; ++i) {
    std::memcpy(static_cast<uint8_t*>(to) + i * stride, tiles.data[t][i], size_t(tiles.bytes[t]));
  }
}

// Of c += a b.
inline void check(int c, int a, int b) {
  require(tiles.configured && tiles.rows[c] == tiles.rows[a] && tiles.bytes[c] == tiles.bytes[b] &&
          tiles.bytes[a] == 4 * tiles.rows[b]);
}
// Bytes 4 k .. 4 k + 3 of line i of a tile, sixteen times.
inline __m512i four_bytes(int tile, int i, int k) {
  int32_t four;
  std::memcpy(&four, tiles.data[tile][i] + 4 * k, 4);
  return _mm512_set1_epi32(four);
}
// Even and odd products have sums of their own, which are added to the tile's at the end.
inline void dot_bf16(int c, int a, int b) {
  const auto even_of = [](__m512i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); };
  const auto odd_of = [](__m512i v) {
    return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(int(0xffff0000))));
  };
  check(c, a, b);
  for (int i = 0; i < tiles.rows[a]; ++i) {
    __m512 even = _mm512_setzero_ps(), odd = even;
    for (int k = 0; k < tiles.rows[b]; ++k) {
      const __m512i line = _mm512_load_si512(tiles.data[b][k]), pair = four_bytes(a, i, k);
      even = _mm512_fmadd_ps(even_of(pair), even_of(line), even);
      odd = _mm512_fmadd_ps(odd_of(pair), odd_of(line), odd);
    }
    float* sums = reinterpret_cast<float*>(tiles.data[c][i]);
    _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums), _mm512_add_ps(even, odd)));
  }
}
inline void dot_signed_unsigned(int c, int a, int b) {
  check(c, a, b);
  for (int i = 0; i < tiles.rows[a]; ++i) {
    __m512i sums = _mm512_load_si512(tiles.data[c][i]);
    for (int k = 0; k < tiles.rows[b]; ++k) {
      sums = _mm512_dpbusd_epi32(sums, _mm512_load_si512(tiles.data[b][k]), four_bytes(a, i, k));
    }
    _mm512_store_si512(tiles.data[c][i], sums);
  }
}

inline void dot_signed(int c, int a, int b) {
  check(c, a, b);
  const __m512i flip = _mm512_set1_epi8(-128), ones = _mm512_set1_epi8(1);
  for (int i = 0; i < tiles.rows[a]; ++i) {
    __m512i sums = _mm512_load_si512(tiles.data[c][i]);
    for (int k = 0; k < tiles.rows[b]; ++k) {
      const __m512i four = four_bytes(a, i, k), line = _mm512_load_si512(tiles.data[b][k]);
      sums = _mm512_dpbusd_epi32(sums, _mm512_xor_si512(line, flip), four);  // (line + 128) four
      const __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, four);
      sums = _mm512_sub_epi32(sums, _mm512_slli_epi32(sum, 7));
    }
    _mm512_store_si512(tiles.data[c][i], sums);
  }
}

}  // namespace hearth::emulation

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_dpbsud
#define _tile_loadconfig(config) ::hearth::emulation::load_config(config)
#define _tile_release() ::hearth::emulation::release()
#define _tile_zero(tile) ::hearth::emulation::zero(tile)
#define _tile_loadd(tile, from, stride) ::hearth::emulation::load(tile, from, stride)
#define _tile_stored(tile, to, stride) ::hearth::emulation::store(tile, to, stride)
#define _tile_dpbf16ps(c, a, b) ::hearth::emulation::dot_bf16(c, a, b)
#define _tile_dpbsud(c, a, b) ::hearth::emulation::dot_signed_unsigned(c, a, b)
#define _tile_dpbssd(c, a, b) ::hearth::emulation::dot_signed(c, a, b)
