#include "quant/verify.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "quant/checksum.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

constexpr size_t kSumBytes = 1 << 20;
constexpr uint64_t kPieceBytes = 16 << 20;  // between two reports of a thread; a thread's share where rows are apart

// Rows of a tensor: all of them, where they go into one checksum.
struct Piece {
  const Tensor* tensor;
  const MappedFile* part;
  int64_t first_row, n_rows;
  std::span<const std::byte> bytes() const {
    return {tensor->data + size_t(first_row) * tensor->row_bytes(), size_t(n_rows) * tensor->row_bytes()};
  }
};

// Lets the disk read some megabytes ahead of whoever walks over the bytes of a piece.
class Ahead {
 public:
  explicit Ahead(const Piece& piece) : part_(piece.part), bytes_(piece.bytes()) {}
  void reached(size_t at) {
    constexpr size_t kStep = 2 << 20, kAhead = 8 << 20;
    while (part_ && asked_ < bytes_.size() && asked_ < at + kAhead) {
      const size_t n = std::min(kStep, bytes_.size() - asked_);
      part_->will_need(bytes_.subspan(asked_, n));
      asked_ += n;
    }
  }

 private:
  const MappedFile* part_;
  std::span<const std::byte> bytes_;
  size_t asked_ = 0;
};

std::vector<Piece> cut(const GgufFile& file, bool whole) {
  std::vector<Piece> pieces;
  for (const Tensor& t : file.tensors()) {
    if (!whole && !t.format->computed()) continue;  // there is nothing to see
    const int64_t rows = t.shape.rows();
    const int64_t at_once = whole ? rows : std::max<int64_t>(1, int64_t(kPieceBytes / t.row_bytes()));
    for (int64_t first = 0; first < rows; first += at_once) {
      pieces.push_back({&t, file.part_of(t.data), first, std::min(at_once, rows - first)});
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

// A tensor whose weights mean nothing here.
Findings sum_bytes(const Piece& piece, const std::function<void(uint64_t)>& read) {
  const auto bytes = piece.bytes();
  Ahead ahead(piece);
  Checksum sum;
  for (size_t at = 0; at < bytes.size(); at += kSumBytes) {
    const auto some = bytes.subspan(at, std::min(kSumBytes, bytes.size() - at));
    ahead.reached(at);
    sum.add(some);
    read(some.size());
  }
  return {.checksum = sum.value()};
}

// One pass: a row is summed and looked at while it is in the cache. `read` is told of the bytes now and then.
Findings examine(const Piece& piece, bool with_checksum, const std::function<void(uint64_t)>& read) {
  const Tensor& tensor = *piece.tensor;
  if (!tensor.format->computed()) return sum_bytes(piece, read);
  const size_t row_bytes = tensor.row_bytes();
  Findings found;
  Ahead ahead(piece);
  Checksum sum;
  uint64_t unreported = 0;
  for (int64_t r = piece.first_row; r < piece.first_row + piece.n_rows; ++r) {
    const std::byte* row = tensor.data + size_t(r) * row_bytes;
    ahead.reached(size_t(r - piece.first_row) * row_bytes);
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

// One of the checksums that the file holds.
struct Expected {
  std::string name, format;  // empty in older files
  uint64_t sum;
};

// Nothing where there are none, and where they contradict each other, which is a problem of its own.
std::vector<Expected> expected_checksums(const GgufFile& file, VerifyReport& report) {
  const std::vector<uint64_t>* sums = file.metadata().u64s(key::kHearthChecksums);
  if (!sums) return {};
  const std::vector<std::string>* names = file.metadata().strings(key::kHearthChecksumNames);
  if (names && names->size() != sums->size()) {
    report.problems.push_back(fmt::format("{}: key {}: expected one checksum for each of {} names in {}, found {}",
                                          file.path(), key::kHearthChecksums, names->size(), key::kHearthChecksumNames,
                                          sums->size()));
    return {};
  }
  std::vector<Expected> expected;
  for (size_t i = 0; i < sums->size(); ++i) {
    const std::string text = names ? (*names)[i] : "";
    const size_t blank = text.rfind(' ');
    expected.push_back({text.substr(0, blank), blank == std::string::npos ? "" : text.substr(blank + 1), (*sums)[i]});
  }
  return expected;
}

// Which of the file's checksums is whose.
class Comparison {
 public:
  // found: by tensor.
  Comparison(const GgufFile& file, const std::vector<Expected>& expected, const std::vector<Findings>& found)
      : file_(file), expected_(expected), used_(expected.size()) {
    for (size_t i = 0; i < expected.size(); ++i) {
      if (!expected[i].name.empty()) by_name_.emplace(expected[i].name, i);
      by_sum_.emplace(expected[i].sum, i);
    }
    // Without names only the order tells, until something is seen to be missing, added or elsewhere.
    in_order_ = by_name_.empty() && expected.size() == found.size();
    for (size_t i = 0; in_order_ && i < found.size(); ++i) {
      in_order_ = found[i].checksum == expected[i].sum || !by_sum_.contains(found[i].checksum);
    }
  }

  void compare(size_t tensor, uint64_t found, VerifyReport& report) {
    const Tensor& t = file_.tensors()[tensor];
    const std::optional<size_t> own = own_checksum(tensor);
    const std::optional<size_t> same = own ? own : unused_with(found);
    if (!same) {
      ++report.n_unknown;
      return;
    }
    const Expected& expected = expected_[*same];
    used_[*same] = true;
    if (!expected.format.empty() && expected.format != t.format->name) {
      ++report.n_other_format;
    } else if (expected.sum == found) {
      ++report.n_matching;
      const bool renamed = !expected.name.empty() && expected.name != t.name;
      report.reordered = report.reordered || renamed || *same < last_;
      last_ = *same;
    } else {
      ++report.n_damaged;
      report.problems.push_back(fmt::format("{}: tensor {}: expected checksum {}, found {}", file_.path(), t.name,
                                            checksum_text(expected.sum), checksum_text(found)));
    }
  }

  int64_t n_missing() const { return std::ranges::count(used_, false); }

 private:
  std::optional<size_t> own_checksum(size_t tensor) const {
    if (in_order_) return tensor;
    const auto it = by_name_.find(file_.tensors()[tensor].name);
    return it == by_name_.end() ? std::nullopt : std::optional(it->second);
  }
  std::optional<size_t> unused_with(uint64_t sum) const {
    for (auto [it, end] = by_sum_.equal_range(sum); it != end; ++it) {
      if (!used_[it->second]) return it->second;
    }
    return std::nullopt;
  }

  const GgufFile& file_;
  const std::vector<Expected>& expected_;
  std::map<std::string_view, size_t> by_name_;
  std::multimap<uint64_t, size_t> by_sum_;
  std::vector<bool> used_;  // by checksum: its tensor is there
  bool in_order_ = false;
  size_t last_ = 0;
};

std::vector<Findings> examine_all(const std::vector<Piece>& pieces, bool with_checksums, const VerifyOptions& options) {
  uint64_t total = 0;
  for (const Piece& piece : pieces) {
    const Tensor& t = *piece.tensor;
    total += piece.n_rows == t.shape.rows() ? t.bytes() : t.row_bytes() * size_t(piece.n_rows);
  }
  Progress progress(options.progress, total);
  std::vector<Findings> findings(pieces.size());
  const std::function<void(size_t)> body = [&](size_t i) {
    findings[i] = examine(pieces[i], with_checksums, [&](uint64_t bytes) { progress.add(bytes); });
  };
  if (options.parallel_for) {
    options.parallel_for(pieces.size(), body);
  } else {
    for (size_t i = 0; i < pieces.size(); ++i) body(i);
  }
  return findings;
}

}  // namespace

VerifyReport verify(const GgufFile& file, const VerifyOptions& options) {
  const std::vector<Tensor>& tensors = file.tensors();
  VerifyReport report;
  std::vector<Expected> expected;
  if (options.checksums) expected = expected_checksums(file, report);
  report.has_checksums = !expected.empty();
  report.n_not_computed = std::ranges::count_if(tensors, [](const Tensor& t) { return !t.format->computed(); });

  const std::vector<Piece> pieces = cut(file, report.has_checksums);
  const std::vector<Findings> findings = examine_all(pieces, report.has_checksums, options);
  if (report.has_checksums) {  // then a piece is a tensor
    Comparison comparison(file, expected, findings);
    for (size_t i = 0; i < tensors.size(); ++i) comparison.compare(i, findings[i].checksum, report);
    report.n_missing = comparison.n_missing();
  }
  const Tensor* told = nullptr;  // the last tensor whose first bad weight is in the report
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Findings& found = findings[i];
    const Tensor& tensor = *pieces[i].tensor;
    if (found.bad_row < 0 || told == &tensor) continue;
    report.problems.push_back(fmt::format("{}: tensor {} {}: expected finite weights, found {} in row {}, column {}",
                                          file.path(), tensor.name, tensor.shape.text(), found.bad_value, found.bad_row,
                                          found.bad_col));
    told = &tensor;
  }
  return report;
}

}  // namespace hearth
