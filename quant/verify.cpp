#include "quant/verify.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>
#include <utility>

#include "quant/checksum.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

constexpr uint64_t kProgressBytes = 16 << 20;  // between two reports of a thread

// An integer maximum, which vectorises; comparisons of floats that stop at the first bad one do not.
bool all_finite(const std::vector<float>& x) {
  uint32_t largest = 0;
  for (const float v : x) largest = std::max(largest, std::bit_cast<uint32_t>(v) & 0x7fffffff);
  return largest < 0x7f800000;
}

struct TensorFindings {
  uint64_t checksum = 0;
  int64_t bad_row = -1;  // the first row with a weight that is not finite
  int64_t bad_col = -1;
  float bad_value = 0;
};

// One pass: a row is summed and decoded while it is in the cache. `read` is told of the bytes now and then.
TensorFindings examine(const Tensor& tensor, const std::function<void(uint64_t)>& read) {
  TensorFindings found;
  Checksum sum;
  std::vector<float> row(size_t(tensor.shape.cols()));
  const size_t row_bytes = tensor.row_bytes();
  uint64_t unreported = 0;
  for (int64_t r = 0; r < tensor.shape.rows(); ++r) {
    const std::byte* begin = tensor.data + size_t(r) * row_bytes;
    sum.add({begin, row_bytes});
    if (found.bad_row < 0) {
      tensor.format->decode(begin, row.data(), tensor.shape.cols());
      if (!all_finite(row)) {
        const auto bad = std::find_if(row.begin(), row.end(), [](float v) { return !std::isfinite(v); });
        found.bad_row = r;
        found.bad_col = bad - row.begin();
        found.bad_value = *bad;
      }
    }
    unreported += row_bytes;
    if (unreported >= kProgressBytes) read(std::exchange(unreported, 0));
  }
  if (unreported > 0) read(unreported);
  found.checksum = sum.value();
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
  const std::vector<uint64_t>* expected = file.metadata().u64s(key::kHearthChecksums);
  if (expected && expected->size() != tensors.size()) {
    report.problems.push_back(fmt::format("{}: key {}: expected one checksum for each of {} tensors, found {}",
                                          file.path(), key::kHearthChecksums, tensors.size(), expected->size()));
    expected = nullptr;
  }
  report.has_checksums = expected != nullptr;

  uint64_t total = 0;
  for (const Tensor& tensor : tensors) total += tensor.bytes();
  Progress progress(options.progress, total);
  std::vector<TensorFindings> findings(tensors.size());
  const std::function<void(size_t)> body = [&](size_t i) {
    findings[i] = examine(tensors[i], [&](uint64_t bytes) { progress.add(bytes); });
  };
  if (options.parallel_for) {
    options.parallel_for(tensors.size(), body);
  } else {
    for (size_t i = 0; i < tensors.size(); ++i) body(i);
  }

  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorFindings& found = findings[i];
    if (expected && found.checksum != (*expected)[i]) {
      report.problems.push_back(fmt::format("{}: tensor {}: expected checksum {}, found {}", file.path(),
                                            tensors[i].name, checksum_text((*expected)[i]),
                                            checksum_text(found.checksum)));
    }
    if (found.bad_row >= 0) {
      report.problems.push_back(fmt::format("{}: tensor {} {}: expected finite weights, found {} in row {}, column {}",
                                            file.path(), tensors[i].name, tensors[i].shape.text(), found.bad_value,
                                            found.bad_row, found.bad_col));
    }
  }
  return report;
}

}  // namespace hearth
