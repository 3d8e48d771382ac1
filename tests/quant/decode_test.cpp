// Every decoder against quant_vectors.bin and iqk_vectors.bin (tests/golden/make_quant_vectors.py,
// make_iqk_vectors.py): the floats of the gguf package, and those of ik_llama.cpp, bit for bit.
#include "quant/decode.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "quant/format.h"
#include "tests/support/paths.h"

using namespace hearth;

namespace {

struct Vectors {
  const Format* format;
  int64_t n;  // weights of a row
  std::vector<std::byte> rows;
  std::vector<float> expected;
};

// Of each format: its number, how many rows, the bytes and the weights of a row, then these.
void read_vectors(const char* name, std::vector<Vectors>& all) {
  std::ifstream in(test::source_dir() / "tests/golden" / name, std::ios::binary);
  REQUIRE(in.good());
  uint32_t head[4];
  while (in.read(reinterpret_cast<char*>(head), sizeof head)) {
    Vectors v{find_format(head[0]), int64_t(head[3]), std::vector<std::byte>(head[1] * head[2]),
              std::vector<float>(head[1] * head[3])};
    REQUIRE_MESSAGE(v.format, "type " << head[0]);
    CHECK(v.format->bytes(v.n) == head[2]);
    in.read(reinterpret_cast<char*>(v.rows.data()), std::streamsize(v.rows.size()));
    in.read(reinterpret_cast<char*>(v.expected.data()), std::streamsize(v.expected.size() * sizeof(float)));
    REQUIRE(in.good());
    all.push_back(std::move(v));
  }
}
std::vector<Vectors> read_vectors() {
  std::vector<Vectors> all;
  read_vectors("quant_vectors.bin", all);
  read_vectors("iqk_vectors.bin", all);
  return all;
}

// Every weight by itself; false for a type that is another one.
template <class Block>
bool decode_one_by_one(FormatId id, const Vectors& v, std::vector<float>& out) {
  if (v.format->id != id) return false;
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t n = size_t(v.n);
    out[i] = weight_of_row<Block>(v.rows.data() + i / n * v.format->bytes(v.n), i % n);
  }
  return true;
}

size_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (float_bits(a[i]) != float_bits(b[i])) return i;
  }
  return a.size();
}

}  // namespace

TEST_CASE("the vectors cover every format") {
  std::set<const Format*> seen;
  for (const Vectors& v : read_vectors()) seen.insert(v.format);
  for (const Format& f : all_formats()) CHECK_MESSAGE(seen.count(&f) == 1, f.name);
}

TEST_CASE("the table's decode equals the reference bit for bit") {
  for (const Vectors& v : read_vectors()) {
    CAPTURE(v.format->name);
    std::vector<float> out(v.expected.size(), NAN);
    for (size_t i = 0; i * size_t(v.n) < out.size(); ++i) {
      v.format->decode(v.rows.data() + i * v.format->bytes(v.n), out.data() + i * size_t(v.n), v.n);
    }
    CHECK(first_difference(out, v.expected) == out.size());
  }
}

TEST_CASE("each weight by itself equals the reference bit for bit") {
  for (const Vectors& v : read_vectors()) {
    if (v.format->block_elems == 1) continue;
    CAPTURE(v.format->name);
    std::vector<float> out(v.expected.size(), NAN);
    const bool known =
        decode_one_by_one<BlockQ4_0>(FormatId::q4_0, v, out) || decode_one_by_one<BlockQ4_1>(FormatId::q4_1, v, out) ||
        decode_one_by_one<BlockQ5_0>(FormatId::q5_0, v, out) || decode_one_by_one<BlockQ5_1>(FormatId::q5_1, v, out) ||
        decode_one_by_one<BlockQ8_0>(FormatId::q8_0, v, out) || decode_one_by_one<BlockQ2_K>(FormatId::q2_k, v, out) ||
        decode_one_by_one<BlockQ3_K>(FormatId::q3_k, v, out) || decode_one_by_one<BlockQ4_K>(FormatId::q4_k, v, out) ||
        decode_one_by_one<BlockQ5_K>(FormatId::q5_k, v, out) || decode_one_by_one<BlockQ6_K>(FormatId::q6_k, v, out) ||
        decode_one_by_one<BlockIQ4_NL>(FormatId::iq4_nl, v, out) ||
        decode_one_by_one<BlockIQ4_XS>(FormatId::iq4_xs, v, out) ||
        decode_one_by_one<BlockIQ2_XXS>(FormatId::iq2_xxs, v, out) ||
        decode_one_by_one<BlockIQ2_XS>(FormatId::iq2_xs, v, out) ||
        decode_one_by_one<BlockIQ2_S>(FormatId::iq2_s, v, out) ||
        decode_one_by_one<BlockIQ3_XXS>(FormatId::iq3_xxs, v, out) ||
        decode_one_by_one<BlockIQ3_S>(FormatId::iq3_s, v, out) ||
        decode_one_by_one<BlockIQ1_S>(FormatId::iq1_s, v, out) ||
        decode_one_by_one<BlockIQ1_M>(FormatId::iq1_m, v, out) ||
        decode_one_by_one<BlockTQ2_0>(FormatId::tq2_0, v, out) ||
        decode_one_by_one<BlockTQ1_0>(FormatId::tq1_0, v, out) ||
        decode_one_by_one<BlockMXFP4>(FormatId::mxfp4, v, out) ||
        decode_one_by_one<BlockNVFP4>(FormatId::nvfp4, v, out) ||
        decode_one_by_one<BlockIQ2_K>(FormatId::iq2_k, v, out) ||
        decode_one_by_one<BlockIQ3_K>(FormatId::iq3_k, v, out) ||
        decode_one_by_one<BlockIQ4_K>(FormatId::iq4_k, v, out) ||
        decode_one_by_one<BlockIQ5_K>(FormatId::iq5_k, v, out) ||
        decode_one_by_one<BlockIQ6_K>(FormatId::iq6_k, v, out) ||
        decode_one_by_one<BlockIQ2_KS>(FormatId::iq2_ks, v, out) ||
        decode_one_by_one<BlockIQ3_KS>(FormatId::iq3_ks, v, out) ||
        decode_one_by_one<BlockIQ4_KS>(FormatId::iq4_ks, v, out) ||
        decode_one_by_one<BlockIQ5_KS>(FormatId::iq5_ks, v, out) ||
        decode_one_by_one<BlockF8_E4M3>(FormatId::f8_e4m3, v, out) ||
        decode_one_by_one<BlockI4_G128>(FormatId::i4_g128, v, out);
    REQUIRE(known);
    CHECK(first_difference(out, v.expected) == out.size());
  }
}

TEST_CASE("NaN in an fp8 checkpoint is not hidden") {
  BlockF8_E4M3 b{2.0f, {}};
  b.qs[5] = 0x7f;
  CHECK(std::isnan(decode(b, 5)));
  CHECK(decode(b, 4) == 0.0f);
}
