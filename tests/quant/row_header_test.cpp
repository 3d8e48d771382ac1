// Rows with a header before their blocks (quant/format.h), by a made-up format.
#include "tests/support/row_header.h"

#include <doctest/doctest.h>

#include <random>

#include "quant/gguf.h"
#include "quant/verify.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr int64_t kRows = 7, kCols = 96;

// Rows of Gaussian weights.
std::vector<std::byte> encoded(const Format& format) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(kCols);
  std::vector<std::byte> bytes(format.bytes(kCols) * kRows);
  for (int64_t r = 0; r < kRows; ++r) {
    for (float& v : x) v = normal(rng);
    format.encode(x.data(), nullptr, bytes.data() + size_t(r) * format.bytes(kCols), kCols);
  }
  return bytes;
}

std::vector<float> decoded(const Format& format, const std::vector<std::byte>& bytes) {
  std::vector<float> y(kRows * kCols);
  for (int64_t r = 0; r < kRows; ++r) {
    format.decode(bytes.data() + size_t(r) * format.bytes(kCols), y.data() + r * kCols, kCols);
  }
  return y;
}

std::vector<std::string> problems_of(const std::vector<std::byte>& bytes) {
  GgufFile file = GgufFile::planned("x.gguf", {}, {{"blk.0.weight", &scaled_q8(), Shape(kRows, kCols)}});
  const_cast<Tensor&>(file.tensors()[0]).data = bytes.data();  // no file can hold a format that no table has
  return verify(file).problems;
}

}  // namespace

TEST_CASE("a row begins with its header") {
  const Format &headed = scaled_q8(), &plain = format_of(FormatId::q8_0);
  CHECK(headed.bytes(kCols) == 2 + plain.bytes(kCols));
  const std::vector<std::byte> bytes = encoded(headed);
  CHECK(decoded(headed, bytes) == decoded(plain, encoded(plain)));
  for (int64_t r = 0; r < kRows; ++r) CHECK(headed.finite(bytes.data() + size_t(r) * headed.bytes(kCols), kCols));
}

TEST_CASE("verify looks at headers and at the blocks behind them") {
  std::vector<std::byte> bytes = encoded(scaled_q8());
  CHECK(problems_of(bytes).empty());
  const size_t row = scaled_q8().bytes(kCols);
  const auto with_nan = [&](size_t at) {
    std::vector<std::byte> bad = bytes;
    bad[at] = std::byte(0);
    bad[at + 1] = std::byte(0x7e);
    return problems_of(bad);
  };
  CHECK(with_nan(4 * row) == std::vector<std::string>{"x.gguf: tensor blk.0.weight [7, 96]: expected finite weights, "
                                                      "found nan in row 4, column 0"});
  CHECK(with_nan(5 * row + 2 + 34) ==
        std::vector<std::string>{"x.gguf: tensor blk.0.weight [7, 96]: expected finite weights, "
                                 "found nan in row 5, column 32"});
}
