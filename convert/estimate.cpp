#include "convert/estimate.h"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include "convert/slab_pipeline.h"
#include "quant/disk_reader.h"

namespace hearth {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kEncodeSeconds = 0.5;       // for all kinds of tensors together
constexpr int64_t kSampleWeights = 1 << 15;  // encoded at a time: the slowest formats take a second for a million
constexpr double kDiskSeconds = 0.3;
constexpr uint64_t kDiskPiece = 4 << 20, kLeastOnDisk = 64 << 20;
constexpr int kDiskReaders = 4;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Runs body(0) ... body(n - 1) on a thread each; throws what one of them threw.
void on_threads(int n, const std::function<void(int)>& body) {
  std::mutex mutex;
  std::exception_ptr error;
  const auto guarded = [&](int i) {
    try {
      body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < n; ++i) threads.emplace_back(guarded, i);
    guarded(0);
  }
  if (error) std::rethrow_exception(error);
}

// Tensors whose weights cost the same: from as many bytes to the same format, transposed or not.
struct Kind {
  uint64_t weights = 0;
  Slab largest;  // the first slab of the largest of them
};

std::vector<Kind> kinds_of(const FileToMake& file) {
  std::map<std::tuple<const Format*, uint64_t, bool>, Kind> kinds;
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const GgufTensorPlan& tensor = file.tensors[i];
    const std::vector<size_t> one = {i};
    Slab slab;
    SlabWalk(file, one).next(slab);
    const int64_t unit = slab.maker->unit();
    const uint64_t bits = slab.maker->source_bytes(0, unit) * 8 / uint64_t(unit * tensor.shape.cols());
    Kind& kind = kinds[{tensor.format, bits, unit > 1}];
    kind.weights += uint64_t(tensor.shape.elems());
    if (!kind.largest.maker || tensor.shape.elems() > file.tensors[kind.largest.tensor].shape.elems()) {
      kind.largest = slab;
    }
  }
  std::vector<Kind> list;
  for (auto& entry : kinds) list.push_back(std::move(entry.second));
  return list;
}

// Of this thread: what else the machine does just now says nothing of the hours to come.
double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

// Weights per second that all threads encode of a kind. Every thread has rows of its own, and reads them once before.
double encode_speed(const FileToMake& file, const Kind& kind, int n_threads, double seconds) {
  const GgufTensorPlan& tensor = file.tensors[kind.largest.tensor];
  const int64_t unit = kind.largest.maker->unit(), unit_weights = unit * tensor.shape.cols();
  const int64_t n = std::min(kind.largest.n_rows, std::max<int64_t>(1, kSampleWeights / unit_weights) * unit);
  const int64_t n_slabs = std::max<int64_t>(1, tensor.shape.rows() / n);
  std::vector<double> speeds(static_cast<size_t>(n_threads));
  on_threads(n_threads, [&](int thread) {
    RowMaker::Scratch scratch;
    std::vector<std::byte> blocks(size_t(n) * tensor.format->bytes(tensor.shape.cols()));
    const int64_t first = int64_t(thread) * n_slabs / n_threads * n;
    kind.largest.maker->encode(first, n, scratch, blocks.data());
    const double start = processor_seconds();
    double weights = 0, taken;
    do {
      kind.largest.maker->encode(first, n, scratch, blocks.data());
      weights += double(n * tensor.shape.cols());
      taken = processor_seconds() - start;
    } while (taken < seconds);
    kind.largest.maker->dont_need(first, n);
    speeds[size_t(thread)] = weights / taken;
  });
  double sum = 0;
  for (const double speed : speeds) sum += speed;
  const double cores = std::max(1u, std::thread::hardware_concurrency());
  return sum * std::min(1.0, cores / n_threads);
}

double encode_seconds(const FileToMake& file, int n_threads) {
  const std::vector<Kind> kinds = kinds_of(file);
  uint64_t all = 0;
  for (const Kind& kind : kinds) all += kind.weights;
  double seconds = 0;
  for (const Kind& kind : kinds) {
    const double share = kEncodeSeconds * double(kind.weights) / double(all);
    seconds += double(kind.weights) / encode_speed(file, kind, n_threads, share);
  }
  return seconds;
}

// Bytes per second of the disk that the largest source is on; 0 where it is too small to tell.
double disk_speed(const FileToMake& file) {
  const auto smaller = [](const MappedFile* a, const MappedFile* b) { return a->size() < b->size(); };
  const auto largest = std::ranges::max_element(file.sources, smaller);
  if (largest == file.sources.end() || (*largest)->size() < kLeastOnDisk) return 0;
  const DiskReader disk((*largest)->path());
  const uint64_t n_pieces = (*largest)->size() / kDiskPiece;
  std::atomic<uint64_t> next = 0, bytes = 0;
  const auto start = Clock::now();
  on_threads(kDiskReaders, [&](int) {
    for (uint64_t i = next++; i < n_pieces && seconds_since(start) < kDiskSeconds; i = next++) {
      disk.read(i * kDiskPiece, kDiskPiece, [&](std::span<const std::byte> piece) {
        bytes += piece.size();
        return true;
      });
    }
  });
  return double(bytes) / seconds_since(start);
}

uint64_t memory_so_far() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return uint64_t(usage.ru_maxrss) * 1024;
}

}  // namespace

MakingEstimate estimate_making(const FileToMake& file, int n_threads) {
  MakingEstimate estimate;
  estimate.n_threads = n_threads;
  estimate.file_bytes = gguf_file_bytes(file.metadata, file.tensors);
  for (const MappedFile* source : file.sources) estimate.source_bytes += source->size();
  const double encoding = encode_seconds(file, n_threads);
  estimate.encode_bytes_per_second = double(estimate.file_bytes) / encoding;
  estimate.disk_bytes_per_second = disk_speed(file);
  const double moved = double(estimate.source_bytes) + 2 * double(estimate.file_bytes);
  const double disk = estimate.disk_bytes_per_second > 0 ? moved / estimate.disk_bytes_per_second : 0;
  estimate.least_seconds = std::max(encoding, disk);
  estimate.most_seconds = 1.2 * (encoding + disk);
  estimate.memory_bytes = memory_so_far() + SlabPipeline::memory_bytes(file, n_threads);
  return estimate;
}

}  // namespace hearth
