#include <doctest/doctest.h>

#include <string_view>
#include <vector>

#include "quant/checksum.h"

using namespace hearth;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

TEST_CASE("XXH3-64 of known bytes") {
  // From `xxhsum -H3`.
  CHECK(checksum_text(checksum(bytes_of(""))) == "2d06800538d394c2");
  CHECK(checksum_text(checksum(bytes_of("hearth"))) == "1851c2d41d54bb06");
  CHECK(checksum_text(checksum(bytes_of(std::string(1000, 'x')))) == "c0a4877b962cba82");
  CHECK(checksum_text(0xab) == "00000000000000ab");
}

TEST_CASE("pieces give the same value as the whole") {
  std::vector<std::byte> bytes(5000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(i * 37 >> 3);
  const uint64_t whole = checksum(bytes);
  for (const size_t piece : {1, 7, 64, 255, 256, 1024, 4999, 5000}) {
    CAPTURE(piece);
    Checksum sum;
    for (size_t i = 0; i < bytes.size(); i += piece) {
      sum.add(std::span(bytes).subspan(i, std::min(piece, bytes.size() - i)));
    }
    sum.add({});
    CHECK(sum.value() == whole);
    CHECK(sum.value() == whole);  // asking does not change it
  }
  CHECK(Checksum().value() == checksum({}));
}

TEST_CASE("one flipped bit changes the value") {
  std::vector<std::byte> bytes(1000);
  const uint64_t before = checksum(bytes);
  for (size_t bit = 0; bit < bytes.size() * 8; bit += 97) {
    bytes[bit / 8] ^= std::byte(1 << bit % 8);
    CHECK(checksum(bytes) != before);
    bytes[bit / 8] ^= std::byte(1 << bit % 8);
  }
}
