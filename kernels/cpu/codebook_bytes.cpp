#include "kernels/cpu/codebook_bytes.h"

#include "quant/codebooks.h"

namespace hearth {
namespace {

template <class Book, class Word>
constexpr PointBytes<Word, Book::kPoints> bytes_of(int offset = 0) {
  PointBytes<Word, Book::kPoints> bytes{};
  for (int n = 0; n < Book::kPoints; ++n) {
    for (int i = 0; i < Book::kCoords; ++i) {
      bytes.of[n] |= Word(Book::level(int(codebook::kPoints<Book>.of[n] >> 4 * i & 15)) + offset) << 8 * i;
    }
  }
  return bytes;
}

template <class Book>
constexpr PointCodes<Book::kPoints> codes_of() {
  constexpr int kBits = Book::kLevels > 4 ? 3 : 2;
  PointCodes<Book::kPoints> codes{};
  for (int n = 0; n < Book::kPoints; ++n) {
    for (int i = 0; i < Book::kCoords; ++i) {
      codes.of[n] = uint16_t(codes.of[n] | (codebook::kPoints<Book>.of[n] >> 4 * i & 15) << kBits * i);
    }
  }
  return codes;
}

}  // namespace

constinit const PointCodes<256> kIq2XxsCodes = codes_of<codebook::Iq2Xxs>();
constinit const PointCodes<512> kIq2XsCodes = codes_of<codebook::Iq2Xs>();
constinit const PointCodes<256> kIq3XxsCodes = codes_of<codebook::Iq3Xxs>();
constinit const PointCodes<512> kIq3SCodes = codes_of<codebook::Iq3S>();

constinit const PointBytes<uint64_t, 256> kIq2XxsBytes = bytes_of<codebook::Iq2Xxs, uint64_t>();
constinit const PointBytes<uint64_t, 512> kIq2XsBytes = bytes_of<codebook::Iq2Xs, uint64_t>();
constinit const PointBytes<uint64_t, 1024> kIq2SBytes = bytes_of<codebook::Iq2S, uint64_t>();
constinit const PointBytes<uint32_t, 256> kIq3XxsBytes = bytes_of<codebook::Iq3Xxs, uint32_t>();
constinit const PointBytes<uint32_t, 512> kIq3SBytes = bytes_of<codebook::Iq3S, uint32_t>();
constinit const PointBytes<uint64_t, 2048> kIq1Bytes = bytes_of<codebook::Iq1, uint64_t>(16);

}  // namespace hearth
