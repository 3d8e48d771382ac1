#include "convert/export/encode_anew.h"

namespace hearth {

void encode_anew(const ExportWeight& weight, const Format& format, int64_t first, int64_t n, ExportScratch& scratch,
                 std::vector<std::byte>& out, ExportLoss& loss) {
  const int64_t cols = weight.shape.cols(), count = n * cols;
  scratch.rows.resize(size_t(count));
  weight.rows->read(first, n, scratch, scratch.rows.data());
  out.resize(size_t(n) * format.bytes(cols));
  format.encode(scratch.rows.data(), nullptr, out.data(), count);
  scratch.part.resize(size_t(count));
  format.decode(out.data(), scratch.part.data(), count);
  SquareSums sums;
  sums.add(scratch.rows.data(), scratch.part.data(), count);
  loss.add(weight.rows->format(), sums);
}

}  // namespace hearth
