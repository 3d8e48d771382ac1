// How experts come from the disk fastest: disk_bench FILE [MEGABYTES PER EXPERT] [EXPERTS PER LAYER] [LAYERS]
//
// A layer that the router has decided wants some experts, which lie all over a file larger than memory; each is then
// computed, for which here its bytes are summed. Measured is a whole layer, asking and waiting and summing, by
//
//   faults     touching the mapping: pages come as they are met
//   willneed   all asked for by madvise(MADV_WILLNEED), then touched (what runtime/offload/read_ahead.h does)
//   populate   mapped by two threads by madvise(MADV_POPULATE_READ), then touched
//   pread      read past the page cache by eight threads into a buffer
//   io_uring   the same by one thread with 64 requests under way (where liburing was there to build with)
//
// No byte is read twice, and the file is dropped from memory beforehand.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HEARTH_HAS_URING
#include <liburing.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPiece = size_t(512) << 10;  // of a request
constexpr int kThreads = 2;                   // that compute

using Clock = std::chrono::steady_clock;

struct Shape {
  size_t expert_bytes = 0;
  int n_experts = 0, n_layers = 0;
};

uint64_t sum(std::span<const std::byte> bytes) {
  std::atomic<uint64_t> total = 0;
  const auto part = [&](int thread) {
    const size_t n = bytes.size() / kThreads / 8 * 8;
    uint64_t result = 0;
    for (const std::byte *at = bytes.data() + size_t(thread) * n, *end = at + n; at < end; at += 8) {
      uint64_t value;
      std::memcpy(&value, at, 8);
      result += value;
    }
    total += result;
  };
  std::jthread other(part, 1);
  part(0);
  return total;
}

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};

class Disk {
 public:
  Disk(const char* path, const Shape& shape) : shape_(shape) {
    file_ = open(path, O_RDONLY | O_CLOEXEC);
    direct_ = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    struct stat info {};
    if (file_ < 0 || direct_ < 0 || fstat(file_, &info) != 0) throw std::string("cannot be opened past the page cache");
    bytes_ = size_t(info.st_size);
    posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED);
    void* const at = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file_, 0);
    if (at == MAP_FAILED) throw std::string("cannot be mapped");
    mapping_ = static_cast<std::byte*>(at);
    const size_t n = bytes_ / shape.expert_bytes;
    free_.resize(n);
    std::iota(free_.begin(), free_.end(), size_t(0));
    std::shuffle(free_.begin(), free_.end(), std::mt19937(std::random_device{}()));
    buffer_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, size_t(shape.n_experts) * shape.expert_bytes)));
#ifdef HEARTH_HAS_URING
    if (io_uring_queue_init(64, &ring_, 0) != 0) throw std::string("io_uring cannot be set up here");
#endif
  }
  ~Disk() {
    munmap(mapping_, bytes_);
    close(file_);
    close(direct_);
#ifdef HEARTH_HAS_URING
    io_uring_queue_exit(&ring_);
#endif
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // Experts that nobody has read yet: their places in the file.
  std::vector<size_t> next_layer() {
    std::vector<size_t> experts;
    for (int i = 0; i < shape_.n_experts; ++i) {
      if (free_.empty()) throw std::string("is too small for so many layers");
      experts.push_back(free_.back() * shape_.expert_bytes);
      free_.pop_back();
    }
    return experts;
  }
  std::span<const std::byte> mapped(size_t at) const {
    return {mapping_ + at, shape_.expert_bytes};
  }
  std::span<std::byte> buffer(size_t i) const {
    return {buffer_.get() + i * shape_.expert_bytes, shape_.expert_bytes};
  }
  bool read(size_t from, std::span<std::byte> to) const {
    return pread(direct_, to.data(), to.size(), off_t(from)) == ssize_t(to.size());
  }

  uint64_t faults(std::span<const size_t> experts) {
    uint64_t total = 0;
    for (const size_t at : experts) total += sum(mapped(at));
    return total;
  }
  uint64_t advised(std::span<const size_t> experts, int advice, int n_threads) {
    std::atomic<size_t> next = 0;
    const auto advise = [&] {
      for (size_t i; (i = next++) < experts.size();) madvise(mapping_ + experts[i], shape_.expert_bytes, advice);
    };
    {
      std::vector<std::jthread> threads;
      for (int i = 1; i < n_threads; ++i) threads.emplace_back(advise);
      advise();
    }
    return faults(experts);
  }
  uint64_t preads(std::span<const size_t> experts) {
    constexpr int kReaders = 8;
    const size_t n_pieces = shape_.expert_bytes / kPiece;
    std::atomic<size_t> next = 0;
    std::vector<std::atomic<size_t>> arrived(experts.size());
    std::vector<std::jthread> readers;
    for (int r = 0; r < kReaders; ++r) {
      readers.emplace_back([&] {
        for (size_t i; (i = next++) < experts.size() * n_pieces;) {
          const size_t expert = i / n_pieces, at = i % n_pieces * kPiece;
          if (!read(experts[expert] + at, buffer(expert).subspan(at, kPiece))) std::abort();
          ++arrived[expert];
          arrived[expert].notify_one();
        }
      });
    }
    uint64_t total = 0;
    for (size_t e = 0; e < experts.size(); ++e) {
      for (size_t seen; (seen = arrived[e]) < n_pieces;) arrived[e].wait(seen);
      total += sum(buffer(e));
    }
    return total;
  }
#ifdef HEARTH_HAS_URING
  uint64_t uring(std::span<const size_t> experts) {
    const size_t n_pieces = shape_.expert_bytes / kPiece, n = experts.size() * n_pieces;
    std::vector<size_t> arrived(experts.size());
    size_t asked = 0, done = 0;
    const auto ask = [&] {
      bool any = false;
      for (; asked < n && asked - done < 64; ++asked, any = true) {
        io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
        const size_t expert = asked / n_pieces, at = asked % n_pieces * kPiece;
        io_uring_prep_read(entry, direct_, buffer(expert).data() + at, kPiece, experts[expert] + at);
        io_uring_sqe_set_data64(entry, expert);
      }
      if (any) io_uring_submit(&ring_);
    };
    uint64_t total = 0;
    for (size_t e = 0; e < experts.size(); ++e) {
      while (arrived[e] < n_pieces) {
        ask();
        io_uring_cqe* entry = nullptr;
        if (io_uring_wait_cqe(&ring_, &entry) != 0 || entry->res != int(kPiece)) std::abort();
        ++arrived[io_uring_cqe_get_data64(entry)];
        ++done;
        io_uring_cqe_seen(&ring_, entry);
      }
      ask();
      total += sum(buffer(e));
    }
    return total;
  }
#endif

 private:
  Shape shape_;
  int file_ = -1, direct_ = -1;
  size_t bytes_ = 0;
  std::byte* mapping_ = nullptr;
  std::vector<size_t> free_;
  std::unique_ptr<std::byte, Free> buffer_;
#ifdef HEARTH_HAS_URING
  io_uring ring_;
#endif
};

void run(const char* path, const Shape& shape) {
  Disk disk(path, shape);
  struct Way {
    const char* name;
    std::function<uint64_t(std::span<const size_t>)> run;
    std::vector<double> seconds;
  };
  std::vector<Way> ways;
  ways.push_back({"faults", [&](auto experts) { return disk.faults(experts); }, {}});
  ways.push_back({"willneed", [&](auto experts) { return disk.advised(experts, MADV_WILLNEED, 1); }, {}});
  ways.push_back({"populate", [&](auto experts) { return disk.advised(experts, MADV_POPULATE_READ, kThreads); }, {}});
  ways.push_back({"pread", [&](auto experts) { return disk.preads(experts); }, {}});
#ifdef HEARTH_HAS_URING
  ways.push_back({"io_uring", [&](auto experts) { return disk.uring(experts); }, {}});
#endif
  uint64_t total = 0;  // nobody wants it, but the compiler does not know
  for (int layer = 0; layer < shape.n_layers; ++layer) {
    for (Way& way : ways) {
      const std::vector<size_t> experts = disk.next_layer();
      const auto start = Clock::now();
      total += way.run(experts);
      way.seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
  }
  const double bytes = double(shape.expert_bytes) * shape.n_experts;
  fmt::print("{} experts of {:.1f} MB in a layer, {} layers each way (sum {})\n", shape.n_experts,
             double(shape.expert_bytes) / 1e6, shape.n_layers, total);
  for (Way& way : ways) {
    std::ranges::sort(way.seconds);
    const double median = way.seconds[way.seconds.size() / 2];
    fmt::print("{:9} {:7.1f} ms a layer ({:.1f} to {:.1f}), {:.2f} GB/s\n", way.name, 1e3 * median,
               1e3 * way.seconds.front(), 1e3 * way.seconds.back(), bytes / median / 1e9);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, double standard) { return argc > i ? std::atof(argv[i]) : standard; };
  const Shape shape{size_t(std::max(1.0, number(2, 5.5) * 1e6 / double(kPiece))) * kPiece,
                    int(std::max(1.0, number(3, 6))), int(std::max(1.0, number(4, 20)))};
  if (argc < 2) {
    fmt::print(stderr, "disk_bench FILE [MEGABYTES PER EXPERT] [EXPERTS PER LAYER] [LAYERS]\n");
    return 2;
  }
  try {
    run(argv[1], shape);
  } catch (const std::string& why) {
    fmt::print(stderr, "disk_bench: {}: {}\n", argv[1], why);
    return 1;
  }
}
