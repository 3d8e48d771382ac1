// What the decoders (decode.cuh) make of a row, for few tokens and for many, is what each format's definition
// (quant/decode.h, by the table of formats) says, bit for bit: blocks of random bytes, and at the ends of their range.
#include "tests/kernels/cuda/decode_kernels.h"
#include "tests/kernels/fixture.h"
#include "tests/support/device_memory.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// Rows at every alignment that a row can have, the last ending where its memory ends.
void check_rows(const Format& format, const TestWeight& w) {
  const DeviceArray<std::byte> bytes(w.bytes);
  const int64_t k = w.view.k, rounded = (k + 63) / 64 * 64;
  for (int64_t i = 0; i < w.view.n; ++i) {
    CAPTURE(i);
    const std::byte* row = bytes.data() + size_t(i) * w.view.row_bytes;
    const DeviceArray<float> units(k);
    decode_units(format.id, row, k, units);
    const std::vector<float> u = units.download();
    for (int64_t j = 0; j < k; ++j) {
      CAPTURE(j);
      REQUIRE(float_bits(u[j]) == float_bits(w.row(0, i)[j]));
    }
    if (format.id == FormatId::f32) continue;  // no tensor core multiplies it
    const DeviceArray<uint16_t> runs(rounded);
    const DeviceArray<float> levels(rounded);
    decode_runs(format.id, row, bytes.data() + w.bytes.size(), k, runs, levels);
    const std::vector<uint16_t> r = runs.download();
    const std::vector<float> l = levels.download();
    for (int64_t j = 0; j < rounded; ++j) {
      CAPTURE(j);
      REQUIRE(r[j] == (j < k ? float_to_bf16(w.row(0, i)[j]) : 0));
      REQUIRE(l[j] == (j < k ? w.row(0, i)[j] : 0));
    }
  }
}

}  // namespace

TEST_CASE("decoders: every format, random bytes") {
  for (const Format& format : all_formats()) {
    CAPTURE(name_of(format.id));
    Rng rng(uint32_t(format.id) * 31 + 1);
    const int64_t block = format.block_elems;
    check_rows(format, TestWeight::random_bytes(rng, format, 1, 9, block == 1 ? 37 : block));
    check_rows(format, TestWeight::random_bytes(rng, format, 1, 2, block == 1 ? 64 : 3 * block));
  }
}

TEST_CASE("decoders: every format, the ends of the range") {
  for (const Format& format : all_formats()) {
    CAPTURE(name_of(format.id));
    Rng rng(uint32_t(format.id) * 31 + 2);
    check_rows(format, TestWeight::extreme(rng, format, 4, format.block_elems == 1 ? 32 : format.block_elems));
  }
}

TEST_CASE("decoders: every code of F8_E4M3, NaN among them") {
  const Format& format = format_of(FormatId::f8_e4m3);
  std::vector<std::byte> bytes(2 * format.block_bytes);
  for (int b = 0; b < 2; ++b) {
    const float d = 3.5f;
    std::memcpy(bytes.data() + b * format.block_bytes, &d, 4);
    for (int j = 0; j < 128; ++j) bytes[b * format.block_bytes + 4 + j] = std::byte(128 * b + j);
  }
  const TestWeight w = TestWeight::of_bytes(format, 1, 256, bytes);
  const DeviceArray<std::byte> row(w.bytes);
  const DeviceArray<float> units(256);
  decode_units(format.id, row, 256, units);
  const DeviceArray<uint16_t> runs(256);
  const DeviceArray<float> levels(256);
  decode_runs(format.id, row, row.data() + w.bytes.size(), 256, runs, levels);
  const std::vector<float> u = units.download(), l = levels.download();
  const std::vector<uint16_t> r = runs.download();
  // Where there is a NaN, all of its unit or run are: its row is.
  for (int j = 0; j < 256; ++j) {
    CAPTURE(j);
    CHECK((j % 128 >= 120 ? std::isnan(u[j]) : float_bits(u[j]) == float_bits(w.row(0, 0)[j])));
    CHECK((j % 128 >= 64 ? std::isnan(l[j]) : l[j] == w.row(0, 0)[j]));
    CHECK((j % 128 >= 64 ? std::isnan(bf16_to_float(r[j])) : r[j] == float_to_bf16(w.row(0, 0)[j])));
  }
}
