#include "convert/make_file.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <mutex>

#include "quant/checksum.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {
namespace {

// Weights that a thread takes at a time: 1 MiB of floats, which stay in its cache between reading and encoding.
constexpr int64_t kSlabWeights = 1 << 18;
// Slabs for each thread that is used, at least: tens of milliseconds of work, as long as a thread may have to wait on a
// busy machine.
constexpr int64_t kSlabsPerThread = 4;
constexpr size_t kVerifyBytes = 1 << 20;

// Calls the callback, from one thread; throws Error(interrupted) when it asks to stop.
class Progress {
 public:
  Progress(const std::function<bool(const ConvertProgress&)>& callback, uint64_t bytes_total) : callback_(callback) {
    state_.bytes_total = bytes_total;
  }
  ConvertProgress& state() { return state_; }
  void report() {
    if (callback_ && !callback_(state_)) fail(ErrorKind::interrupted, "interrupted: no file was written");
  }

 private:
  const std::function<bool(const ConvertProgress&)>& callback_;
  ConvertProgress state_;
};

// Keeps the error of the earliest piece of work that failed, so which error is reported does not depend on the threads.
class FirstError {
 public:
  // Runs f unless an error was kept already. Throws nothing, because exceptions must not leave a parallel region.
  template <class F>
  void guard(int64_t piece, F f) {
    if (any_.load(std::memory_order_relaxed)) return;
    try {
      f();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (piece >= piece_) return;
      piece_ = piece;
      error_ = std::current_exception();
      any_ = true;
    }
  }
  bool any() const { return any_.load(std::memory_order_relaxed); }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> any_ = false;
  int64_t piece_ = std::numeric_limits<int64_t>::max();
  std::exception_ptr error_;
};

struct Made {
  uint64_t checksum = 0;
  int64_t n_clamped = 0;  // weights too large for the format
};

// Reads, encodes and writes one tensor in slabs of rows, all threads at once.
Made make_tensor(const FileToMake& file, size_t index, int n_threads, GgufWriter& writer, Progress& progress) {
  const GgufTensorPlan& tensor = file.tensors[index];
  const std::unique_ptr<RowMaker> maker = file.rows(index);
  const RowMaker& encoder = *maker;
  const int64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), unit = encoder.unit();
  const int64_t slab_rows = std::max<int64_t>(1, kSlabWeights / (cols * unit)) * unit;
  const int64_t n_slabs = (rows + slab_rows - 1) / slab_rows;
  const size_t row_bytes = tensor.format->bytes(cols);
  const auto size_of = [&](int64_t slab) { return std::min(slab_rows, rows - slab * slab_rows); };
  n_threads = int(std::clamp<int64_t>(n_slabs / kSlabsPerThread, 1, n_threads));

  // Any thread, any order.
  const auto encode_and_write = [&](int64_t slab, RowMaker::Scratch& scratch, std::vector<std::byte>& blocks) {
    const int64_t first = slab * slab_rows, n = size_of(slab), ahead = slab + 2 * n_threads;
    if (ahead < n_slabs) encoder.will_need(ahead * slab_rows, size_of(ahead));
    blocks.resize(size_t(n) * row_bytes);
    encoder.encode(first, n, scratch, blocks.data());
    encoder.dont_need(first, n);
    writer.write(index, size_t(first) * row_bytes, blocks);
  };
  // One after the other, in the order of the file.
  Checksum sum;
  progress.state().tensor = tensor.name;
  const auto account = [&](int64_t slab, std::span<const std::byte> blocks) {
    sum.add(blocks);
    progress.state().bytes_done += blocks.size();
    progress.state().source_bytes += encoder.source_bytes(slab * slab_rows, size_of(slab));
    if (omp_get_thread_num() == 0) progress.report();
  };

  FirstError error;
#pragma omp parallel num_threads(n_threads)
  {
    RowMaker::Scratch scratch;
    std::vector<std::byte> blocks;
#pragma omp for ordered schedule(dynamic, 1)
    for (int64_t slab = 0; slab < n_slabs; ++slab) {
      error.guard(slab, [&] { encode_and_write(slab, scratch, blocks); });
#pragma omp ordered
      error.guard(slab, [&] { account(slab, blocks); });
    }
  }
  error.rethrow();
  progress.report();
  return {sum.value(), encoder.n_clamped()};
}

// Opens the written file like any other and compares every tensor with the plan and its checksum.
void verify(const FileToMake& made, const std::string& path, const std::vector<uint64_t>& checksums, int n_threads,
            Progress& progress) {
  progress.state().tensor = "verifying";
  const GgufFile file = GgufFile::open(path);
  const std::vector<Tensor>& tensors = file.tensors();
  require(tensors.size() == checksums.size(), ErrorKind::format, "{}: expected {} tensors, read back {}", path,
          checksums.size(), tensors.size());
  std::atomic<uint64_t> bytes_verified = 0;
  FirstError error;
  const auto verify_tensor = [&](size_t i) {
    const Tensor& tensor = tensors[i];
    const GgufTensorPlan& meant = made.tensors[i];
    require(tensor.name == meant.name && tensor.format == meant.format && tensor.shape == meant.shape,
            ErrorKind::format, "{}: expected tensor {} {} {}, read back {} {} {}", path, meant.name, meant.format->name,
            meant.shape.text(), tensor.name, tensor.format->name, tensor.shape.text());
    Checksum sum;
    const std::span<const std::byte> bytes(tensor.data, tensor.bytes());
    for (size_t at = 0; at < bytes.size(); at += kVerifyBytes) {
      if (error.any()) return;
      const auto part = bytes.subspan(at, std::min(kVerifyBytes, bytes.size() - at));
      sum.add(part);
      file.parts().front()->dont_need(part);
      bytes_verified += part.size();
      if (omp_get_thread_num() != 0) continue;
      progress.state().bytes_verified = bytes_verified;
      progress.report();
    }
    require(sum.value() == checksums[i], ErrorKind::file,
            "{}: tensor {}: expected checksum {}, read back {}: the disk did not keep what was written", path,
            tensor.name, checksum_text(checksums[i]), checksum_text(sum.value()));
  };
#pragma omp parallel for num_threads(n_threads) schedule(dynamic, 1)
  for (size_t i = 0; i < tensors.size(); ++i) {
    error.guard(int64_t(i), [&] { verify_tensor(i); });
  }
  error.rethrow();
  progress.state().bytes_verified = bytes_verified;  // includes what the other threads did last
  progress.report();
}

std::string clamped_note(const std::vector<std::string>& clamped) {
  const size_t shown = std::min<size_t>(clamped.size(), 5);
  return fmt::format("weights too large for F16 became its largest number, 65504: {}{} (bf16 and f32 hold them)",
                     fmt::join(clamped.begin(), clamped.begin() + std::ptrdiff_t(shown), ", "),
                     clamped.size() > shown ? fmt::format(" and of {} other tensors", clamped.size() - shown) : "");
}

}  // namespace

std::vector<std::string> make_file(const FileToMake& file, int n_threads,
                                   const std::function<bool(const ConvertProgress&)>& callback) {
  uint64_t bytes_total = 0;
  for (const GgufTensorPlan& tensor : file.tensors) bytes_total += tensor.bytes();
  Progress progress(callback, bytes_total);
  GgufWriter writer(file.path, file.metadata, file.tensors);
  std::vector<uint64_t> checksums;
  std::vector<std::string> clamped;
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const auto [checksum, n_clamped] = make_tensor(file, i, n_threads, writer, progress);
    checksums.push_back(checksum);
    if (n_clamped > 0) clamped.push_back(fmt::format("{} of {}", n_clamped, file.tensors[i].name));
  }
  writer.patch(key::kHearthChecksums, GgufValue::of_u64s(checksums));
  writer.sync();
  verify(file, writer.partial_path(), checksums, n_threads, progress);
  writer.finish();
  return clamped.empty() ? std::vector<std::string>{} : std::vector<std::string>{clamped_note(clamped)};
}

}  // namespace hearth
