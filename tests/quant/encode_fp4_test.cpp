// MXFP4 and NVFP4, whose scales are so coarse that what other formats promise of theirs does not hold.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "quant/decode.h"
#include "quant/finite.h"
#include "quant/format.h"

using namespace hearth;

namespace {

constexpr int64_t kFp4Weights = 4096;

std::vector<float> fp4_round_trip(const Format& format, const std::vector<float>& x, const float* importance) {
  std::vector<std::byte> row(format.bytes(int64_t(x.size())));
  format.encode(x.data(), importance, row.data(), int64_t(x.size()));
  std::vector<float> y(x.size());
  format.decode(row.data(), y.data(), int64_t(y.size()));
  return y;
}

// The least error of n weights with one scale: each as the level nearest to it.
double least_error(const float* x, const float* importance, int n, double scale) {
  double error = 0;
  for (int i = 0; i < n; ++i) {
    double best = INFINITY;
    for (int code = 0; code < 16; ++code) {
      const double e = x[i] - scale * level_tables::at<level_tables::E2m1>(code);
      best = std::min(best, e * e);
    }
    error += best * (importance ? importance[i] : 1);
  }
  return error;
}

struct Fp4 {
  FormatId id;
  int group, last_code;
  float (*scale)(uint8_t code);
};
constexpr Fp4 kFp4[] = {{FormatId::mxfp4, 32, 252, half_of_e8m0}, {FormatId::nvfp4, 16, 0x7e, half_of_ue4m3}};

}  // namespace

TEST_CASE("fp4: no scale that can be stored would be better") {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  std::exponential_distribution<float> exponential(1);
  std::vector<float> x(kFp4Weights), importance(kFp4Weights);
  for (float& v : x) v = normal(rng) * (rng() % 50 == 0 ? 4.0f : 1.0f);
  for (float& w : importance) w = exponential(rng) + 0.01f;
  for (const Fp4& format : kFp4) {
    for (const float* weighted : {static_cast<const float*>(nullptr), static_cast<const float*>(importance.data())}) {
      CAPTURE(std::string(format_of(format.id).name));
      const std::vector<float> y = fp4_round_trip(format_of(format.id), x, weighted);
      double found = 0, least = 0;
      for (size_t at = 0; at < x.size(); at += size_t(format.group)) {
        const float* w = weighted ? weighted + at : nullptr;
        double best = INFINITY;
        for (int code = 0; code <= format.last_code; ++code) {
          best = std::min(best, least_error(x.data() + at, w, format.group, format.scale(uint8_t(code))));
        }
        least += best;
        for (int i = 0; i < format.group; ++i)
          found += std::pow(double(x[at + size_t(i)]) - y[at + size_t(i)], 2) * (w ? w[i] : 1);
      }
      CHECK(found >= least * (1 - 1e-6));
      CHECK(found <= least * (format.id == FormatId::mxfp4 ? 1 + 1e-6 : 1.005));  // NVFP4: of 18 scales
    }
  }
}

TEST_CASE("fp4: what can be held is held exactly") {
  std::mt19937 rng(2);
  for (const Fp4& format : kFp4) {
    CAPTURE(std::string(format_of(format.id).name));
    std::vector<float> x(kFp4Weights);
    for (size_t at = 0; at < x.size(); at += size_t(format.group)) {
      // Scales neither subnormal nor at the end of their range, all levels, and the largest among them.
      const float scale = format.scale(uint8_t(format.id == FormatId::mxfp4 ? 60 + rng() % 150 : 8 + rng() % 0x76));
      for (int i = 0; i < format.group; ++i) {
        x[at + size_t(i)] = scale * float(level_tables::at<level_tables::E2m1>(i == 3 ? 7 : int(rng() % 16)));
      }
    }
    CHECK(fp4_round_trip(format_of(format.id), x, nullptr) == x);
  }
}

TEST_CASE("fp4: beyond the range of the scales") {
  const std::vector<float> huge(64, 3e38f), tiny(64, 1e-44f);
  CHECK(fp4_round_trip(format_of(FormatId::mxfp4), huge, nullptr) == std::vector<float>(64, 0x1.8p127f));
  CHECK(fp4_round_trip(format_of(FormatId::mxfp4), tiny, nullptr) == std::vector<float>(64, 0.0f));
  CHECK(fp4_round_trip(format_of(FormatId::nvfp4), huge, nullptr) == std::vector<float>(64, 2688.0f));
  CHECK(fp4_round_trip(format_of(FormatId::nvfp4), tiny, nullptr) == std::vector<float>(64, 0.0f));
}

TEST_CASE("fp4: scales that are not numbers elsewhere") {
  CHECK(half_of_ue4m3(0x7f) == 0);
  CHECK(half_of_ue4m3(0xff) == 240);
  CHECK(half_of_ue4m3(0x81) == half_of_ue4m3(1));
  CHECK(half_of_e8m0(0) == 0x1p-128f);
  CHECK(half_of_e8m0(1) == 0x1p-127f);
  CHECK(half_of_e8m0(255) == 0x1p127f);
}

TEST_CASE("fp4: MXFP4 is finite if its largest weight is") {
  const auto finite = [](int e, int code) {
    BlockMXFP4 block{uint8_t(e), {}};
    block.qs[7] = uint8_t(code << 4);
    const bool told = format_of(FormatId::mxfp4).finite(&block, 32);
    CHECK(told == std::isfinite(decode(block, 23)));
    return told;
  };
  CHECK(finite(255, 0));
  CHECK(finite(255, 1));
  CHECK_FALSE(finite(255, 2));
  CHECK_FALSE(finite(255, 15));
  CHECK(finite(254, 3));
  CHECK_FALSE(finite(254, 12));
  CHECK(finite(252, 15));
  CHECK_FALSE(finite(253, 15));
  CHECK_FALSE(finite(253, 6));
  CHECK(finite(253, 5));
}
