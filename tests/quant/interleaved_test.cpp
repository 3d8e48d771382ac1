#include "quant/interleaved.h"

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>

#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct Record {
  uint32_t type, rows, cols;
  std::vector<std::byte> group;
  uint64_t checksum;  // FNV-1a of what ik_llama.cpp decodes it to
};

std::vector<Record> interleaved_records() {
  std::ifstream in(source_dir() / "tests" / "golden" / "interleaved.bin", std::ios::binary);
  std::vector<Record> records;
  uint32_t head[4];
  while (in.read(reinterpret_cast<char*>(head), sizeof head)) {
    Record record{head[0], head[1], head[2], std::vector<std::byte>(head[3]), 0};
    in.read(reinterpret_cast<char*>(record.group.data()), std::streamsize(record.group.size()));
    in.read(reinterpret_cast<char*>(&record.checksum), sizeof record.checksum);
    REQUIRE(in.good());
    records.push_back(std::move(record));
  }
  return records;
}

uint64_t fnv1a(const std::vector<float>& values) {
  uint64_t sum = 0xcbf29ce484222325;
  for (const std::byte b : std::as_bytes(std::span(values))) sum = (sum ^ uint64_t(b)) * 0x100000001b3;
  return sum;
}

}  // namespace

TEST_CASE("interleaved rows, taken apart, are what ik_llama.cpp decodes them to, bit for bit") {
  const std::vector<Record> records = interleaved_records();
  REQUIRE(records.size() == 23);
  for (const Record& record : records) {
    CAPTURE(std::string(listed_format(record.type).name));
    const auto interleaved = Interleaved::of(record.type);
    REQUIRE(interleaved);
    REQUIRE(interleaved->rows() == int(record.rows));
    REQUIRE(interleaved->fits(record.cols));
    const Format& plain = interleaved->plain();
    const size_t row_bytes = plain.bytes(record.cols);
    std::vector<std::byte> rows(record.rows * row_bytes);
    interleaved->take_apart(record.group.data(), record.cols, rows.data());
    std::vector<float> values(size_t(record.rows) * record.cols);
    for (uint32_t r = 0; r < record.rows; ++r)
      plain.decode(rows.data() + r * row_bytes, values.data() + r * record.cols, record.cols);
    CHECK(fnv1a(values) == record.checksum);
  }
}

TEST_CASE("sixteen rows of BF16, by pairs") {
  const auto interleaved = Interleaved::of(230);
  REQUIRE(interleaved);
  CHECK(interleaved->fits(6));
  CHECK(!interleaved->fits(5));
  std::vector<uint16_t> group(16 * 6), rows(16 * 6);
  for (size_t i = 0; i < group.size(); ++i) group[i] = uint16_t(i);
  interleaved->take_apart(reinterpret_cast<const std::byte*>(group.data()), 6,
                          reinterpret_cast<std::byte*>(rows.data()));
  for (size_t row = 0; row < 16; ++row) {
    for (size_t i = 0; i < 6; ++i) CHECK(rows[row * 6 + i] == i / 2 * 32 + row * 2 + i % 2);
  }
}

TEST_CASE("formats of single rows are not interleaved, and short rows do not fill a plain block") {
  CHECK(!Interleaved::of(uint32_t(FormatId::q4_k)));
  CHECK(Interleaved::of(229)->plain().id == FormatId::f32);  // IQ1_M_R4: its scales have a bit more than IQ1_M's
  CHECK(Interleaved::of(229)->kept().id == FormatId::iq1_m);
  CHECK(Interleaved::of(219)->kept().id == FormatId::iq1_s);
  CHECK(!Interleaved::of(9999));
  CHECK(!Interleaved::of(219)->fits(32));
  CHECK(Interleaved::of(219)->fits(256));
}
