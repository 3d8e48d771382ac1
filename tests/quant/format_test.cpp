// Every row of the table: sizes, names, and that encoding loses no more than the row promises.
#include "quant/format.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "quant/checksum.h"
#include "quant/decode.h"
#include "quant/encode.h"
#include "quant/tensor.h"

using namespace hearth;

namespace {

std::vector<float> gaussian(int64_t n, unsigned seed, float sigma = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, sigma);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(rng);
  return x;
}

std::vector<std::byte> encode(const Format& f, const std::vector<float>& x, const float* importance = nullptr) {
  std::vector<std::byte> blocks(f.bytes(int64_t(x.size())), std::byte{0xa5});
  f.encode(x.data(), importance, blocks.data(), int64_t(x.size()));
  return blocks;
}

std::vector<float> decode(const Format& f, const std::vector<std::byte>& blocks, size_t n) {
  std::vector<float> y(n, NAN);
  f.decode(blocks.data(), y.data(), int64_t(n));
  return y;
}

std::vector<float> round_trip(const Format& f, const std::vector<float>& x, const float* importance = nullptr) {
  return decode(f, encode(f, x, importance), x.size());
}

std::vector<Format> encoded_formats() {
  std::vector<Format> formats;
  std::ranges::copy_if(all_formats(), std::back_inserter(formats), [](const Format& f) { return f.encode != nullptr; });
  return formats;
}
// Scales finer than levels, and of any size. (encode_fp4_test.cpp looks at those of the others.)
bool has_fine_scales(const Format& f) {
  return f.id != FormatId::mxfp4 && f.id != FormatId::nvfp4;
}

// RMS(y - x) / RMS(x), each square weighted.
double relative_error(const std::vector<float>& x, const std::vector<float>& y, const float* weight = nullptr) {
  double error = 0, power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double w = weight ? weight[i] : 1, e = double(y[i]) - x[i];
    error += w * e * e;
    power += w * double(x[i]) * x[i];
  }
  return std::sqrt(error / power);
}

bool all_finite(const std::vector<float>& x) {
  return std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); });
}

}  // namespace

TEST_CASE("every format is found by its number and by its name in any case") {
  uint32_t last = 0;
  for (const Format& f : all_formats()) {
    CAPTURE(std::string(f.name));
    CHECK((&f == &all_formats().front() || uint32_t(f.id) > last));  // in the order of their ids
    last = uint32_t(f.id);
    CHECK(find_format(uint32_t(f.id)) == &f);
    CHECK(&format_of(f.id) == &f);
    std::string lower = f.name;
    for (char& c : lower) c = char(std::tolower(c));
    CHECK(find_format(f.name) == &f);
    CHECK(find_format(lower) == &f);
    CHECK(&listed_format(uint32_t(f.id)) == &f);
    CHECK(f.computed());
    CHECK(f.sized());
  }
}

TEST_CASE("what is not ours is not found, and is named where we know it") {
  CHECK(find_format(15u) == nullptr);
  CHECK(find_format(999u) == nullptr);
  CHECK(find_format("Q4") == nullptr);
  CHECK(find_format("") == nullptr);
}

// Bytes of a row of 512 weights, as the programs that write these formats count them.
TEST_CASE("formats of other programs are listed with their names and sizes") {
  struct Row {
    uint32_t type;
    const char* name;
    size_t bytes;
  };
  for (const Row& row : {Row{15, "Q8_K", 584}, Row{28, "F64", 4096}, Row{41, "Q1_0", 72}, Row{133, "Q6_0", 416},
                         Row{146, "IQ4_KSS", 260}, Row{157, "IQ2_KL", 174}, Row{219, "IQ1_S_R4", 98},
                         Row{340, "IQ5_K_R4", 352}, Row{399, "Q8_K_R8", 516}}) {
    CAPTURE(row.type);
    const Format& format = listed_format(row.type);
    CHECK(uint32_t(format.id) == row.type);
    CHECK(std::string(format.name) == row.name);
    CHECK_FALSE(format.computed());
    REQUIRE(format.fits(512));
    CHECK(format.bytes(512) == row.bytes);
    CHECK(find_format(row.type) == nullptr);
    CHECK(find_format(row.name) == nullptr);
  }
}

TEST_CASE("a number that nobody knows has a name and no size") {
  const Format& format = listed_format(999);
  CHECK(std::string(format.name) == "type 999");
  CHECK_FALSE(format.computed());
  CHECK_FALSE(format.sized());
  CHECK(&listed_format(999) == &format);
  CHECK_FALSE(listed_format(36).sized());  // I2_S, which is not made of rows
}

TEST_CASE("bits per weight and bytes of a row") {
  const auto bits = [](const char* name) { return find_format(name)->bits_per_weight(); };
  CHECK(bits("F32") == 32);
  CHECK(bits("Q4_K") == 4.5);
  CHECK(bits("Q6_K") == 6.5625);
  CHECK(bits("IQ4_XS") == 4.25);
  CHECK(bits("F8_E4M3") == 8.25);
  CHECK(bits("I4_G128") == 4.125);
  CHECK(bits("TQ2_0") == 2.0625);
  CHECK(bits("IQ1_S") == 1.5625);
  CHECK(bits("IQ1_M") == 1.75);
  CHECK(bits("IQ2_XXS") == 2.0625);
  CHECK(bits("IQ3_S") == 3.4375);
  CHECK(bits("TQ1_0") == 1.6875);
  CHECK(bits("MXFP4") == 4.25);
  CHECK(bits("NVFP4") == 4.5);
  CHECK(bits("IQ2_K") == 2.375);
  CHECK(bits("IQ6_K") == 6.625);
  CHECK(bits("IQ3_KS") == 3.1875);
  CHECK(find_format("Q4_K")->bytes(1024) == 4 * 144);
  CHECK(find_format("IQ2_KS")->bytes(1024) == 2 + 4 * 70);
  CHECK(find_format("IQ5_KS")->bytes(1024) == 4 + 4 * 168);
  CHECK(find_format("Q8_0")->fits(1408));
  CHECK(!find_format("Q4_K")->fits(1408));
  CHECK(!find_format("Q8_0")->fits(0));
}

TEST_CASE("shapes as text") {
  CHECK(Shape(16, 512, 128).text() == "[16, 512, 128]");
  CHECK(Shape(7).text() == "[7]");
  CHECK(Shape().text() == "[]");
}

TEST_CASE("Gaussian rows stay within the tolerance of their format, which is no wider than it has to be") {
  const std::vector<float> x = gaussian(64 * 1024, 1, 0.02f);
  for (const Format& f : encoded_formats()) {
    CAPTURE(std::string(f.name));
    const double error = relative_error(x, round_trip(f, x));
    CAPTURE(error);
    CHECK(error <= f.tolerance);
    CHECK(error >= 0.9 * f.tolerance);
  }
}

TEST_CASE("zeros stay zeros") {
  const std::vector<float> zeros(1024, 0.0f);
  for (const Format& f : encoded_formats()) {
    CAPTURE(std::string(f.name));
    CHECK(round_trip(f, zeros) == zeros);
    CHECK(round_trip(f, zeros, zeros.data()) == zeros);  // and no importance at all
  }
}

TEST_CASE("constants keep their value to the precision of an fp16 scale") {
  for (const Format& f : encoded_formats()) {
    if (!has_fine_scales(f)) continue;
    CAPTURE(std::string(f.name));
    for (const float c : {1.0f, -0.3f, 17.0f, -400.0f}) {
      const std::vector<float> x(512, c);
      CHECK(relative_error(x, round_trip(f, x)) <= (f.id == FormatId::bf16 ? 0x1p-8 : 0x1p-11));
    }
  }
}

// Those whose blocks decode to weights of the size of those encoded, at the price of a larger error.
bool of_few_bits(FormatId id) {
  constexpr FormatId kFew[] = {FormatId::q2_k,   FormatId::iq1_s, FormatId::iq1_m,   FormatId::iq2_xxs,
                               FormatId::iq2_xs, FormatId::iq2_s, FormatId::iq3_xxs, FormatId::iq3_s};
  return std::find(std::begin(kFew), std::end(kFew), id) != std::end(kFew);
}

// The share of an outlier's square that is lost in a group of n weights whose levels nearest to zero and largest are
// these: the least of (1 - largest * a)^2 + n * (nearest * a)^2 for any scale a.
double without_zero(FormatId id) {
  const auto lost = [](double n, double nearest, double largest) {
    return n * nearest * nearest / (largest * largest + n * nearest * nearest);
  };
  switch (id) {
    case FormatId::iq4_nl:
    case FormatId::iq4_xs:
      return lost(31, 1, 113);
    case FormatId::iq2_xxs:
      return lost(31, 8, 43);
    case FormatId::iq2_xs:
    case FormatId::iq2_s:
      return lost(15, 8, 43);
    case FormatId::iq3_xxs:
      return lost(31, 4, 62);
    case FormatId::iq3_s:
      return lost(31, 1, 15);
    case FormatId::iq1_s:
      return lost(31, 1, 9);
    case FormatId::iq1_m:
      return lost(15, 1, 9);
    default:
      return 0;
  }
}

TEST_CASE("a single outlier, however large, costs its block no more than what lies beside it") {
  for (const Format& f : encoded_formats()) {
    if (!has_fine_scales(f)) continue;
    CAPTURE(std::string(f.name));
    for (const float outlier : {50.0f, -1000.0f}) {
      std::vector<float> x = gaussian(512, 3);
      x[77] = outlier;
      const std::vector<float> y = round_trip(f, x);
      const double rest = relative_error(x, y) * std::sqrt(512 + outlier * outlier);  // about sqrt(sum of (x - y)^2)
      // What has no zero costs more: a group's scale is a compromise between the outlier and all others.
      const double away = without_zero(f.id);
      const double lost = of_few_bits(f.id) ? away / (1 - away) : away;  // their scales keep the block's size
      CHECK(rest <= 1.2 * std::sqrt(512 + lost * outlier * outlier));
      CHECK(std::fabs(y[77] / outlier - 1) < 0.02 + 1.1 * away);
    }
  }
}

TEST_CASE("finite weights of any size never become NaN or infinite") {
  for (const Format& f : encoded_formats()) {
    CAPTURE(std::string(f.name));
    for (const float sigma : {1e-42f, 1e-38f, 1e-20f, 1e-8f, 1e4f, 1e6f, 1e20f, 5e37f}) {
      CAPTURE(sigma);
      const std::vector<float> x = gaussian(512, 5, sigma);
      REQUIRE(all_finite(x));
      const std::vector<float> y = round_trip(f, x);
      CHECK(all_finite(y));
      for (size_t i = 0; i < x.size(); ++i) REQUIRE(std::fabs(y[i]) <= 1.5f * 5 * sigma);  // no wild value either
    }
    std::vector<float> edge(512, 0.0f);
    edge[0] = std::numeric_limits<float>::max();
    edge[300] = -std::numeric_limits<float>::max();
    edge[301] = std::numeric_limits<float>::denorm_min();
    CHECK(all_finite(round_trip(f, edge)));
  }
}

TEST_CASE("small weights: as good as an fp16 scale allows") {
  // 2^-24 is the smallest fp16: with weights of a few hundred times that, scales are coarse but not zero.
  for (const Format& f : encoded_formats()) {
    if (!has_fine_scales(f)) continue;
    CAPTURE(std::string(f.name));
    const std::vector<float> x = gaussian(4096, 6, 2e-5f);
    CHECK(relative_error(x, round_trip(f, x)) <= (f.tolerance < 0.01f ? 0.06f : 1.5f * f.tolerance));
  }
}

TEST_CASE("beyond the range of fp16, F16 saturates") {
  const std::vector<float> x = {65504, 65519, 65520, 1e30f, -65520, -1e30f, 1, 0};
  CHECK(round_trip(format_of(FormatId::f16), x) ==
        std::vector<float>{65504, 65504, 65504, 65504, -65504, -65504, 1, 0});
  const std::vector<float> big = {std::numeric_limits<float>::max()};
  CHECK(round_trip(format_of(FormatId::bf16), big)[0] == 0x1.fep127f);
}

// <x, y> = <x, x>, where least squares would give (1 - error) of it.
TEST_CASE("weights of few bits keep their size") {
  const std::vector<float> x = gaussian(16 * 1024, 18, 0.02f);
  for (const Format& f : encoded_formats()) {
    CAPTURE(std::string(f.name));
    const std::vector<float> y = round_trip(f, x);
    double xx = 0, xy = 0;
    for (size_t i = 0; i < x.size(); ++i) xx += double(x[i]) * x[i], xy += double(x[i]) * y[i];
    const double error = relative_error(x, y);
    if (of_few_bits(f.id)) CHECK(xy / xx == doctest::Approx(1).epsilon(3e-4));
    if (!of_few_bits(f.id) && f.block_elems > 1) CHECK(xy / xx <= 1 - 0.5 * error * error + 1e-5);
  }
}

TEST_CASE("importance moves the error away from what matters") {
  const std::vector<float> x = gaussian(16 * 1024, 8);
  std::vector<float> importance(x.size());
  std::mt19937 rng(9);
  std::exponential_distribution<float> exponential(1);
  for (float& w : importance) w = std::pow(exponential(rng), 2.0f);
  for (const Format& f : encoded_formats()) {
    if (f.block_elems == 1) continue;
    CAPTURE(std::string(f.name));
    const std::vector<float> plain = round_trip(f, x), weighted = round_trip(f, x, importance.data());
    const double gain = f.id == FormatId::mxfp4 ? 0.995 : 0.985;  // powers of two leave little to choose
    CHECK(relative_error(x, weighted, importance.data()) < gain * relative_error(x, plain, importance.data()));
    CHECK(relative_error(x, weighted) > relative_error(x, plain));  // what does not matter pays for it

    // Only ratios count, whatever their size; equal importance is the same as none, but for rounding, and but for
    // formats that then count large weights for more.
    std::vector<float> scaled = importance;
    for (float& w : scaled) w *= 0x1p-100f;
    CHECK(encode(f, x, scaled.data()) == encode(f, x, importance.data()));
    const std::vector<float> equal(x.size(), 3.0f);
    const double alike = of_few_bits(f.id) ? 0.012 : 1e-3;
    CHECK(relative_error(x, round_trip(f, x, equal.data())) ==
          doctest::Approx(relative_error(x, plain)).epsilon(alike));
  }
}

TEST_CASE("encoding is deterministic, and rows are encoded alone or together alike") {
  const std::vector<float> x = gaussian(11 * 256, 10);
  for (const Format& f : encoded_formats()) {
    CAPTURE(std::string(f.name));
    const std::vector<std::byte> together = encode(f, x);
    CHECK(together == encode(f, x));
    std::vector<std::byte> apart;
    for (size_t at = 0; at < x.size(); at += 256) {
      const std::vector<std::byte> row = encode(f, {x.begin() + long(at), x.begin() + long(at) + 256});
      apart.insert(apart.end(), row.begin(), row.end());
    }
    CHECK(apart == together);
  }
}

TEST_CASE("the negated row is the negated result, for formats that are symmetric") {
  const std::vector<float> x = gaussian(1024, 11);
  std::vector<float> negated = x;
  for (float& v : negated) v = -v;
  for (const char* name : {"F16", "BF16", "Q4_0", "Q5_0", "Q8_0", "TQ1_0", "TQ2_0", "IQ4_NL", "F8_E4M3", "I4_G128",
                           "MXFP4", "NVFP4", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"}) {
    CAPTURE(std::string(name));
    const Format& f = *find_format(name);
    std::vector<float> y = round_trip(f, negated);
    for (float& v : y) v = -v;
    CHECK(y == round_trip(f, x));
  }
}

TEST_CASE("what a format can hold, it holds exactly, and again after a second encoding") {
  std::mt19937 rng(12);
  struct Grid {
    const char* name;
    int low, high;  // levels; low is the one the largest weight of each block gets
    float scale;
  };
  for (const Grid& grid : {Grid{"Q8_0", 127, -127, 1.0f}, Grid{"Q8_0", -127, 127, 0x1.5p-7f},
                           Grid{"Q4_0", -8, 7, 0.25f}, Grid{"Q5_0", -16, 15, 0x1.8p-3f}, Grid{"I4_G128", -8, 7, 3.0f},
                           Grid{"TQ2_0", -1, 1, 0x1.8p-6f}, Grid{"TQ1_0", -1, 1, 0x1.8p-6f}}) {
    CAPTURE(std::string(grid.name));
    const Format& f = *find_format(grid.name);
    std::uniform_int_distribution<int> level(std::min(grid.low, grid.high), std::max(grid.low, grid.high));
    std::vector<float> x(1024);
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = grid.scale * float(i % f.block_elems == 0 ? grid.low : level(rng));
    }
    CHECK(round_trip(f, x) == x);
  }
  for (const char* name : {"Q4_1", "Q5_1"}) {
    CAPTURE(std::string(name));
    const Format& f = *find_format(name);
    const int levels = f.id == FormatId::q4_1 ? 16 : 32;
    std::vector<float> x(1024);
    for (size_t i = 0; i < x.size(); ++i) x[i] = -2.0f + 0.125f * float(i % 32 % size_t(levels));
    CHECK(round_trip(f, x) == x);
  }
  for (const Format& f : encoded_formats()) {
    if (f.block_elems > 1 && f.block_bytes != 132) continue;
    CAPTURE(std::string(f.name));
    const std::vector<float> once = round_trip(f, gaussian(1024, 13));
    if (f.block_elems == 1) CHECK(round_trip(f, once) == once);
    CHECK(relative_error(once, round_trip(f, once)) <
          1e-6);  // F8_E4M3: the same levels, the scale to its last bit or two
  }
}

TEST_CASE("an FP8 checkpoint's blocks are kept as they are") {
  std::mt19937 rng(14);
  uint8_t e4m3[128];
  for (uint8_t& b : e4m3) b = uint8_t(rng() % 127 | (rng() & 128));
  const float scale = 0x1.23456p-13f;
  const BlockF8_E4M3 block = f8_e4m3_block(e4m3, scale);
  for (int i = 0; i < 128; ++i) CHECK(decode(block, i) == scale * e4m3_to_float(e4m3[i]));
}

TEST_CASE("every machine and compiler encodes to the same bytes") {
  // Weights from integers alone: a sum of eight uniform bytes, bell-shaped, and every 50th three times as large.
  std::vector<float> x(64 * 256);
  uint64_t state = 1;
  for (size_t i = 0; i < x.size(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    int total = -1020;
    for (uint64_t bytes = state ^ state >> 29; bytes; bytes >>= 8) total += int(bytes & 255);
    x[i] = float(i % 50 == 0 ? 3 * total : total) * 0x1p-12f;
  }
  // From an encoder's change on, files differ from those converted before: then, and only then, these change.
  const struct {
    const char* name;
    const char* checksum;
  } expected[] = {
      {"F32", "23620f01958c1f49"},    {"F16", "8705fc3b199cd402"},     {"Q4_0", "b917ca66e7f30c5f"},
      {"Q4_1", "c623ef1724e08d63"},   {"Q5_0", "b8edcde27d2dc1ce"},    {"Q5_1", "e343ab86b44e3926"},
      {"Q8_0", "2a04f27d55b9c485"},   {"Q2_K", "c52f6670b4a0b52b"},    {"Q3_K", "f2fd19fbb03b4f0c"},
      {"Q4_K", "540339f0019fbff9"},   {"Q5_K", "c37d34a2908063df"},    {"Q6_K", "08b8a9e412b95ad4"},
      {"TQ2_0", "e0c790d50e968baf"},  {"IQ4_NL", "16fd362847653ca0"},  {"IQ4_XS", "8c437cf1eada3de8"},
      {"BF16", "6d0e5339040e11f6"},   {"F8_E4M3", "80d0166acf5ebf84"}, {"I4_G128", "331074576e4cbfb4"},
      {"IQ1_S", "54e28cf0a9f935f6"},  {"IQ1_M", "ff7c355a62160edb"},   {"IQ2_XXS", "e52c17abc3b89c0d"},
      {"IQ2_XS", "adeac34bff53c5ad"}, {"IQ2_S", "3daac22a8f9b1714"},   {"IQ3_XXS", "74c15dffb2867277"},
      {"IQ3_S", "f7cc3ba4d3dc1b8c"},  {"TQ1_0", "6cb4cb9b41d69993"},   {"MXFP4", "af0d54e0cce88656"},
      {"NVFP4", "62857e8e88fab45a"},
  };
  for (const auto& e : expected) {
    CAPTURE(std::string(e.name));
    CHECK(checksum_text(checksum(encode(*find_format(e.name), x))) == e.checksum);
  }
}
