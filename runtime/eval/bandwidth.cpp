#include "runtime/eval/bandwidth.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <new>
#include <thread>

#include "runtime/support/seconds_since.h"

namespace hearth {
namespace {

using Clock = std::chrono::steady_clock;

// A file opened to be read past the page cache.
class DirectFile {
 public:
  explicit DirectFile(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC)) {}
  ~DirectFile() {
    if (fd_ >= 0) close(fd_);
  }
  DirectFile(const DirectFile&) = delete;
  DirectFile& operator=(const DirectFile&) = delete;

  // Bytes at its beginning that are on a disk: reading a hole, or a file that lives in memory, would measure nothing.
  int64_t bytes_on_disk() const {
    constexpr long kTmpfs = 0x01021994, kRamfs = static_cast<long>(0x858458f6);
    struct statfs system;
    if (fd_ < 0 || fstatfs(fd_, &system) != 0 || system.f_type == kTmpfs || system.f_type == kRamfs) return 0;
    const int64_t hole = lseek(fd_, 0, SEEK_HOLE);
    struct stat info;
    if (hole <= 0 || fstat(fd_, &info) != 0) return 0;
    return std::min<int64_t>(hole, int64_t(info.st_blocks) * 512);  // of one that does not tell holes
  }
  bool read(std::byte* to, size_t bytes, int64_t at) const { return pread(fd_, to, bytes, at) == ssize_t(bytes); }

 private:
  int fd_;
};

// That this thread was on a processor.
double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

struct FreesBytes {
  void operator()(std::byte* memory) const { std::free(memory); }
};

}  // namespace

ReadBandwidth::ReadBandwidth(int n_threads, size_t bytes) : n_threads_(n_threads) {
  try {
    buffer_.assign(bytes / sizeof(uint64_t), 1);
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::resource, "out of memory: measuring the read bandwidth needs {} bytes", bytes);
  }
}

// Each thread sums its own part over and over for the same stretch of time; the rates of all are added.
double ReadBandwidth::measure(double seconds, Time time) const {
  constexpr size_t kLanes = 32, kPiece = 1 << 15;  // independent sums; values between two looks at the clock
  const size_t part = buffer_.size() / size_t(n_threads_) / kPiece * kPiece;
  std::atomic<int> ready = 0;
  std::vector<double> rates(static_cast<size_t>(n_threads_));
  std::atomic<uint64_t> total = 0;  // wanted by nobody, but the compiler cannot know
  const auto read = [&](int thread) {
    const uint64_t* begin = buffer_.data() + size_t(thread) * part;
    uint64_t sums[kLanes] = {};
    ++ready;
    while (ready < n_threads_) std::this_thread::yield();
    const auto start = Clock::now();
    const double processor_start = processor_seconds();
    size_t n_read = 0;
    while (seconds_since(start) < seconds) {
      const uint64_t* piece = begin + n_read % part;
      for (size_t i = 0; i < kPiece; i += kLanes) {
        for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += piece[i + lane];
      }
      n_read += kPiece;
    }
    const double spent = time == Time::wall ? seconds_since(start) : processor_seconds() - processor_start;
    rates[size_t(thread)] = double(n_read * sizeof(uint64_t)) / spent;
    for (const uint64_t sum : sums) total += sum;
  };
  {
    std::vector<std::jthread> threads;
    for (int thread = 1; thread < n_threads_; ++thread) threads.emplace_back(read, thread);
    read(0);
  }
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

CopyBandwidth::CopyBandwidth(Device& device, size_t bytes)
    : device_(device), from_(device, bytes, "measuring bandwidth"), to_(device, bytes, "measuring bandwidth") {}

double CopyBandwidth::measure() const {
  constexpr int kCopies = 8;
  const auto copy = [&](int n) {
    for (int i = 0; i < n; ++i) device_.move(from_.data(), to_.data(), from_.bytes());
    const std::string failure = device_.finish();
    require(failure.empty(), ErrorKind::resource, "{}: {}", device_.name(), failure);
  };
  copy(1);
  const auto start = Clock::now();
  copy(kCopies);
  return 2.0 * kCopies * double(from_.bytes()) / seconds_since(start);
}

double upload_bandwidth(Device& device, size_t bytes) {
  constexpr int kTimes = 3;
  const Buffer to(device, bytes, "measuring bandwidth");
  std::vector<std::byte> from;
  try {
    from.assign(bytes, std::byte(1));
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::resource, "out of memory: measuring bandwidth needs {} bytes", bytes);
  }
  double best = 0;
  for (int i = 0; i <= kTimes; ++i) {  // the first one makes what is kept between copies
    const auto start = Clock::now();
    device.move(from.data(), to.data(), bytes);
    const std::string failure = device.finish();
    require(failure.empty(), ErrorKind::resource, "{}: {}", device.name(), failure);
    if (i > 0) best = std::max(best, double(bytes) / seconds_since(start));
  }
  return best;
}

double disk_bandwidth(const std::string& path, double seconds) {
  constexpr size_t kPiece = size_t(4) << 20, kAlign = 4096;
  constexpr int kThreads = 4;  // of a disk's queue
  const DirectFile file(path);
  const int64_t n_pieces = file.bytes_on_disk() / int64_t(kPiece);
  if (n_pieces < kThreads) return 0;
  std::atomic<int64_t> next = 0, n_read = 0;
  std::atomic<bool> ok = true;
  const auto start = Clock::now();
  const auto read = [&] {
    const std::unique_ptr<std::byte, FreesBytes> to(static_cast<std::byte*>(std::aligned_alloc(kAlign, kPiece)));
    while (to && ok && seconds_since(start) < seconds) {
      // All over the file, no piece twice.
      const int64_t i = next++;
      if (i >= n_pieces) return;
      if (file.read(to.get(), kPiece, i * int64_t(kPiece))) {
        n_read += int64_t(kPiece);
      } else {
        ok = false;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < kThreads; ++i) threads.emplace_back(read);
    read();
  }
  return ok ? double(n_read) / seconds_since(start) : 0;
}

}  // namespace hearth
