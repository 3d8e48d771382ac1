#include "quant/verify.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "quant/checksum.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

constexpr uint64_t kPieceBytes = 16 << 20;  // between two reports of a thread; a thread's share where rows are apart

// Rows of a tensor: all of them, where they go into one checksum.
struct Piece {
  const Tensor* tensor;
  int64_t first_row, n_rows;
};

std::vector<Piece> cut(const std::vector<Tensor>& tensors, bool whole) {
  std::vector<Piece> pieces;
  for (const Tensor& t : tensors) {
    const int64_t rows = t.shape.rows();
    const int64_t at_once = whole ? rows : std::max<int64_t>(1, int64_t(kPieceBytes / t.row_bytes()));
    for (int64_t first = 0; first < rows; first += at_once) {
      pieces.push_back({&t, first, std::min(at_once, rows - first)});
    }
  }
  return pieces;
}

struct Findings {
  uint64_t checksum = 0;
  int64_t bad_row = -1;  // the first row with a weight that is not finite
  int64_t bad_col = -1;
  float bad_value = 0;
};

void locate_bad_weight(const Tensor& tensor, int64_t row, Findings& found) {
  const int64_t cols = tensor.shape.cols();
  std::vector<float> weights(static_cast<size_t>(cols));
  tensor.format->decode(tensor.data + size_t(row) * tensor.row_bytes(), weights.data(), cols);
  const auto bad = std::ranges::find_if(weights, [](float v) { return !std::isfinite(v); });
  found.bad_row = row;
  found.bad_col = bad - weights.begin();
  found.bad_value = bad == weights.end() ? NAN : *bad;
}

// One pass: a row is summed and looked at while it is in the cache. `read` is told of the bytes now and then.
Findings examine(const Piece& piece, bool with_checksum, const std::function<void(uint64_t)>& read) {
  const Tensor& tensor = *piece.tensor;
  const size_t row_bytes = tensor.row_bytes();
  Findings found;
  Checksum sum;
  uint64_t unreported = 0;
  for (int64_t r = piece.first_row; r < piece.first_row + piece.n_rows; ++r) {
    const std::byte* row = tensor.data + size_t(r) * row_bytes;
    if (with_checksum) sum.add({row, row_bytes});
    if (found.bad_row < 0 && !tensor.format->finite(row, tensor.shape.cols())) locate_bad_weight(tensor, r, found);
    unreported += row_bytes;
    if (unreported >= kPieceBytes) read(std::exchange(unreported, 0));
  }
  if (unreported > 0) read(unreported);
  if (with_checksum) found.checksum = sum.value();
  return found;
}

// Adds up the bytes of all threads.
class Progress {
 public:
  Progress(const std::function<void(uint64_t, uint64_t)>& call, uint64_t total) : call_(call), total_(total) {}
  void add(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (call_) call_(done_, total_);
  }

 private:
  const std::function<void(uint64_t, uint64_t)>& call_;
  uint64_t total_;
  std::mutex mutex_;
  uint64_t done_ = 0;
};

}  // namespace

VerifyReport verify(const GgufFile& file, const VerifyOptions& options) {
  const std::vector<Tensor>& tensors = file.tensors();
  VerifyReport report;
  const std::vector<uint64_t>* expected = options.checksums ? file.metadata().u64s(key::kHearthChecksums) : nullptr;
  if (expected && expected->size() != tensors.size()) {
    report.problems.push_back(fmt::format("{}: key {}: expected one checksum for each of {} tensors, found {}",
                                          file.path(), key::kHearthChecksums, tensors.size(), expected->size()));
    expected = nullptr;
  }
  report.has_checksums = expected != nullptr;

  uint64_t total = 0;
  for (const Tensor& tensor : tensors) total += tensor.bytes();
  Progress progress(options.progress, total);
  const std::vector<Piece> pieces = cut(tensors, expected != nullptr);
  std::vector<Findings> findings(pieces.size());
  const std::function<void(size_t)> body = [&](size_t i) {
    findings[i] = examine(pieces[i], expected != nullptr, [&](uint64_t bytes) { progress.add(bytes); });
  };
  if (options.parallel_for) {
    options.parallel_for(pieces.size(), body);
  } else {
    for (size_t i = 0; i < pieces.size(); ++i) body(i);
  }

  const Tensor* told = nullptr;  // the last tensor whose first bad weight is in the report
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Findings& found = findings[i];
    const Tensor& tensor = *pieces[i].tensor;
    const size_t index = size_t(&tensor - tensors.data());
    if (expected && found.checksum != (*expected)[index]) {
      report.problems.push_back(fmt::format("{}: tensor {}: expected checksum {}, found {}", file.path(), tensor.name,
                                            checksum_text((*expected)[index]), checksum_text(found.checksum)));
    }
    if (found.bad_row >= 0 && told != &tensor) {
      report.problems.push_back(fmt::format("{}: tensor {} {}: expected finite weights, found {} in row {}, column {}",
                                            file.path(), tensor.name, tensor.shape.text(), found.bad_value,
                                            found.bad_row, found.bad_col));
      told = &tensor;
    }
  }
  return report;
}

}  // namespace hearth
