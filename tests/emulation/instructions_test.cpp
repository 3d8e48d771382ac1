// The pure functions against the manual's words, worked out here in another way.
#include "tests/emulation/instructions.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include <limits>
#include <random>

using namespace hearth;
using namespace hearth::instructions;

TEST_CASE("dp4a multiplies signed bytes and wraps") {
  CHECK(dp4a(0x01020304, 0x01010101, 5) == 15);
  CHECK(dp4a(0x80ff7f01, 0x807f7f02, 0) == 128 * 128 - 127 + 127 * 127 + 2);
  CHECK(dp4a(0x7f7f7f7f, 0x7f7f7f7f, std::numeric_limits<int32_t>::max()) ==
        std::numeric_limits<int32_t>::min() + 4 * 127 * 127 - 1);
}

TEST_CASE("byte_permute picks bytes, and signs where bit 3 asks for them") {
  CHECK(byte_permute(0x33221100, 0x77665544, 0x3210) == 0x33221100);
  CHECK(byte_permute(0x33221100, 0x77665544, 0x0647) == 0x00664477);
  CHECK(byte_permute(0x00000080, 0x7f000000, 0x8f08) == 0xff0080ff);
}

TEST_CASE("funnel_shift takes the shift modulo 32") {
  CHECK(funnel_shift(0x33221100, 0x77665544, 0) == 0x33221100);
  CHECK(funnel_shift(0x33221100, 0x77665544, 20) == 0x65544332);
  CHECK(funnel_shift(0x33221100, 0x77665544, 32 + 31) == 0xeeccaa88);
}

TEST_CASE("pack_bf16 rounds to nearest even, the first value below") {
  CHECK(pack_bf16(1.0f, -2.0f) == 0xc0003f80);
  CHECK(pack_bf16(float_from_bits(0x3f808000), float_from_bits(0x3f818000)) == 0x3f823f80);
  CHECK(pack_bf16(std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()) == 0x7fff7f80);
}

TEST_CASE("fma_bf16x2 rounds once") {
  CHECK(fma_bf16x2(0x43004314, 0x3f803f80, 0xc300c300) == 0x000041a0);  // 148 - 128 = 20, 128 - 128 = 0
  CHECK(fma_bf16x2(0x3f813f81, 0x3f813f81, 0x00000000) == 0x3f823f82);  // 1.0078125^2 = 1.01568.., between 2 and 3
  // 256 + 1 is between two, and goes to the even one; with a little more, by a product that float cannot keep, up.
  CHECK(fma_bf16x2(0x3f803f80, 0x3f803f80, 0x43800000) == 0x43803f80);
  CHECK(fma_bf16x2(0x3f803f81, 0x3f803f81, 0x43804380) == 0x43804381);
  CHECK(fma_bf16x2(0x7f807fc0, 0x3f803f80, 0x00000000) == 0x7f807fff);
}

TEST_CASE("exp2_fast at its edges") {
  CHECK(exp2_fast(-std::numeric_limits<float>::infinity()) == 0.0f);
  CHECK(exp2_fast(10.0f) == 1024.0f);
  CHECK(exp2_fast(-127.0f) == 0.0f);
  CHECK(exp2_fast(128.0f) == std::numeric_limits<float>::infinity());
}

TEST_CASE("matrices in registers: ldmatrix and mma together are a matrix product") {
  // a [16,16] and b [16,8], whole numbers that bf16 holds exactly, so that the sums have one right value.
  std::mt19937 random(1);
  uint16_t a[16][16], b_rows[16][8];
  int left[16][16], right[16][8];
  for (auto& row : left) {
    for (int& v : row) v = int(random() % 33) - 16;
  }
  for (auto& row : right) {
    for (int& v : row) v = int(random() % 33) - 16;
  }
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < 16; j++) a[i][j] = float_to_bf16(float(left[i][j]));
    for (int j = 0; j < 8; j++) b_rows[i][j] = float_to_bf16(float(right[i][j]));
  }
  const void* a_rows[32];
  const void* b_row_of[32];
  for (int lane = 0; lane < 32; lane++) {
    a_rows[lane] = &a[lane % 16][lane / 16 * 8];  // upper left, lower left, upper right, lower right
    b_row_of[lane] = b_rows[lane % 16];           // row-major b is loaded transposed; twice, to fill four matrices
  }
  uint32_t fragment_a[32][4], loaded_b[32][4], fragment_b[32][2];
  ldmatrix_x4(a_rows, false, fragment_a);
  ldmatrix_x4(b_row_of, true, loaded_b);
  float d[32][4];
  for (int lane = 0; lane < 32; lane++) {
    for (int i = 0; i < 2; i++) fragment_b[lane][i] = loaded_b[lane][i];
    for (float& v : d[lane]) v = 0.5f;
  }
  for (const TensorCore core : {TensorCore::in_order, TensorCore::hopper, TensorCore::ampere}) {  // integers: exact
    float product[32][4];
    std::memcpy(product, d, sizeof d);
    mma_m16n8k16_bf16(fragment_a, fragment_b, product, core);
    for (int i = 0; i < 16; i++) {
      for (int j = 0; j < 8; j++) {
        int sum = 0;
        for (int k = 0; k < 16; k++) sum += left[i][k] * right[k][j];
        CHECK(product[i % 8 * 4 + j / 2][i / 8 * 2 + j % 2] == float(sum) + 0.5f);
      }
    }
  }
}

TEST_CASE("matrices of bytes in registers: ldmatrix and mma together are a matrix product") {
  std::mt19937 random(2);
  alignas(16) int8_t a[16][32], b_columns[8][32];
  for (auto& row : a) {
    for (int8_t& v : row) v = int8_t(random());
  }
  for (auto& row : b_columns) {
    for (int8_t& v : row) v = int8_t(random());
  }
  a[0][0] = b_columns[0][0] = -128;
  const void* a_rows[32];
  const void* b_rows[32];
  for (int lane = 0; lane < 32; lane++) {
    a_rows[lane] = &a[lane % 16][lane / 16 * 16];
    b_rows[lane] = &b_columns[lane % 8][lane / 8 % 2 * 16];  // twice, to fill four matrices
  }
  uint32_t fragment_a[32][4], loaded_b[32][4], fragment_b[32][2], left_a[32][2], upper_b[32][1];
  ldmatrix_x4(a_rows, false, fragment_a);
  ldmatrix_x4(b_rows, false, loaded_b);
  int32_t whole[32][4], half[32][4];
  for (int lane = 0; lane < 32; lane++) {
    for (int i = 0; i < 2; i++) fragment_b[lane][i] = loaded_b[lane][i], left_a[lane][i] = fragment_a[lane][i];
    upper_b[lane][0] = loaded_b[lane][0];
    for (int i = 0; i < 4; i++) whole[lane][i] = half[lane][i] = std::numeric_limits<int32_t>::max();  // sums wrap
  }
  mma_s8<32>(fragment_a, fragment_b, whole);
  mma_s8<16>(left_a, upper_b, half);
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < 8; j++) {
      int32_t left = 0, right = 0;
      for (int k = 0; k < 16; k++) left += a[i][k] * b_columns[j][k], right += a[i][16 + k] * b_columns[j][16 + k];
      const uint32_t before = uint32_t(std::numeric_limits<int32_t>::max());
      CHECK(uint32_t(whole[i % 8 * 4 + j / 2][i / 8 * 2 + j % 2]) == before + uint32_t(left + right));
      CHECK(uint32_t(half[i % 8 * 4 + j / 2][i / 8 * 2 + j % 2]) == before + uint32_t(left));
    }
  }
}

TEST_CASE("mma: what is small beside the sum so far is rounded, or cut off to 25 or 24 bits") {
  uint32_t a[32][4], b[32][2];
  for (int lane = 0; lane < 32; lane++) {
    for (uint32_t& pair : a[lane]) pair = 0x3f803f80;  // ones
    for (uint32_t& pair : b[lane]) pair = float_to_bf16(0x1.8p-24f) * 0x10001u;
  }
  const auto after = [&](float start, TensorCore core) {
    float d[32][4];
    for (auto& of_lane : d) std::fill(of_lane, of_lane + 4, start);
    mma_m16n8k16_bf16(a, b, d, core);
    for (const auto& of_lane : d)
      for (const float v : of_lane) CHECK(std::memcmp(&v, d[0], sizeof v) == 0);
    return d[0][0];
  };
  CHECK(after(1, TensorCore::in_order) == 1 + 0x1p-19f);  // each to the next float
  CHECK(after(1, TensorCore::hopper) == 1 + 0x1p-20f);    // each to 2^-24
  CHECK(after(1, TensorCore::ampere) == 1);
  CHECK(after(-1, TensorCore::hopper) == -1 + 0x1p-20f);
  CHECK(after(0, TensorCore::hopper) == 0x1.8p-20f);
  CHECK(std::isnan(after(NAN, TensorCore::ampere)));
  CHECK(after(INFINITY, TensorCore::hopper) == INFINITY);
}
