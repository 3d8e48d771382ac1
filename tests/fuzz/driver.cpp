// Runs a fuzz target without libFuzzer: mutates its seeds a bounded number of times, the same way on every run. It
// knows nothing of coverage; what it buys is that every build of every compiler tries the readers on broken input.
//
//   TARGET_fuzz_test [--inputs N] [--seconds T] [--seed S] [SEED_DIR]    the test
//   TARGET_fuzz_test --write-seeds DIR [SEED_DIR]          the seeds as files: a corpus for libFuzzer
//   TARGET_fuzz_test --replay FILE...                      one input as it is
//
// An input that crashes is left as crash-TARGET_fuzz_test in the working directory.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#include <algorithm>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "tests/fuzz/target.h"
#include "tests/support/sanitized.h"

namespace {

namespace fs = std::filesystem;
using hearth::test::fuzz_one;

constexpr size_t kInputs = 300000;
// Of processor time: slow builds try fewer, busy machines do not. Sanitizers see more, so they get more of it.
constexpr double kSeconds = hearth::test::kSanitized ? 5 : 2;
constexpr size_t kMaxBytes = 1 << 16;

// --- What a crash leaves: set before each input, used from a signal handler.

const char* crash_path = "crash";
std::span<const std::byte> current;

void keep_current() {
  const int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return;
  if (write(fd, current.data(), current.size()) < 0) return;
  close(fd);
  constexpr char kText[] = "the input that crashed was written to ";
  for (const char* text : {kText, crash_path, "\n"}) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
  }
}

void on_signal(int number) {
  keep_current();
  signal(number, SIG_DFL);
  raise(number);
}

void catch_crashes() {
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) signal(number, on_signal);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_set_death_callback(keep_current);
#endif
}

// On the heap and of exactly its size, where a sanitizer sees every step past the end.
bool run(const std::string& input) {
  const std::vector<std::byte> copy(reinterpret_cast<const std::byte*>(input.data()),
                                    reinterpret_cast<const std::byte*>(input.data()) + input.size());
  current = copy;
  return fuzz_one(copy);
}

// --- Mutations.

class Mutator {
 public:
  Mutator(const std::vector<std::string>& seeds, uint64_t seed) : seeds_(seeds), random_(seed) {}

  std::string next() {
    std::string input = seeds_[below(seeds_.size())];
    for (size_t n = 1 + below(4); n > 0; --n) mutate(input);
    if (input.size() > kMaxBytes) input.resize(kMaxBytes);
    return input;
  }

 private:
  size_t below(size_t n) { return n == 0 ? 0 : random_() % n; }

  void mutate(std::string& s) {
    const size_t at = below(s.size());
    const size_t length = std::min(s.size() - at, size_t(1) << below(7));
    switch (below(9)) {
      case 0:
        s.resize(at);
        break;
      case 1:
        s.erase(at, length);
        break;
      case 2:
        s.insert(at, s.substr(below(s.size()), length));
        break;
      case 3:
        s.insert(at, std::string(length, char(random_())));
        break;
      case 4:
        splice(s, at);
        break;
      case 5:
      case 6:
        overwrite_number(s, at);
        break;
      default:
        if (!s.empty()) s[at] ^= char(1 << below(8));
    }
  }

  // The beginning of one seed and the end of another.
  void splice(std::string& s, size_t at) {
    const std::string& other = seeds_[below(seeds_.size())];
    s = s.substr(0, at) + other.substr(below(other.size()));
  }

  // Numbers that break readers: limits of types, and sizes around that of the input.
  void overwrite_number(std::string& s, size_t at) {
    const uint64_t size = s.size();
    const uint64_t numbers[] = {0,          1,          2,        7,     0x7f,       0x80,       0xff,           0xffff,
                                0x7fffffff, 0x80000000, ~0u,      ~0ull, ~0ull >> 1, 1ull << 63, 1ull << 32,     size,
                                size - 1,   size + 1,   size / 8, at,    size - at,  random_(),  random_() % 256};
    const uint64_t number = numbers[below(std::size(numbers))];
    const size_t bytes = std::min<size_t>(s.size() - at, size_t(1) << below(4));
    std::memcpy(s.data() + at, &number, bytes);
  }

  const std::vector<std::string>& seeds_;
  std::mt19937_64 random_;
};

// --- The three commands.

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> all_seeds(const std::string& folder) {
  std::vector<std::string> seeds = hearth::test::fuzz_seeds();
  if (!folder.empty() && fs::is_directory(folder)) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(folder)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());  // the order of a directory is not the same everywhere
    for (const fs::path& path : paths) seeds.push_back(read_file(path));
  }
  return seeds;
}

int write_seeds(const std::vector<std::string>& seeds, const fs::path& folder) {
  fs::create_directories(folder);
  for (size_t i = 0; i < seeds.size(); ++i) {
    std::ofstream(folder / fmt::format("seed-{:02}", i), std::ios::binary) << seeds[i];
  }
  fmt::print("{} seeds written to {}\n", seeds.size(), folder.string());
  return 0;
}

int replay(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) fmt::print("{}: {}\n", path, run(read_file(path)) ? "taken" : "refused");
  return 0;
}

int test(const std::vector<std::string>& seeds, size_t n_inputs, double max_seconds, uint64_t seed) {
  for (size_t i = 0; i < seeds.size(); ++i) {
    if (!run(seeds[i])) {
      fmt::print(stderr, "seed {} is refused: mutations of it would test little\n", i);
      return 1;
    }
  }
  const auto seconds = [] { return double(std::clock()) / CLOCKS_PER_SEC; };
  Mutator mutator(seeds, seed);
  size_t tried = 0, taken = 0;
  for (; tried < n_inputs && (tried % 256 != 0 || seconds() < max_seconds); ++tried) taken += run(mutator.next());
  fmt::print("{} seeds, {} mutated inputs (--seed {}): {} taken, {} refused, in {:.1f} s\n", seeds.size(), tried, seed,
             taken, tried - taken, seconds());
  if (tried < n_inputs) fmt::print("stopped before {} inputs: {} s are over\n", n_inputs, max_seconds);
  return seeds.empty() || taken == 0 || taken == tried;  // all alike: the reader was not reached, or refuses nothing
}

}  // namespace

int main(int argc, char** argv) {
  const std::string crash = "crash-" + fs::path(argv[0]).filename().string();
  crash_path = crash.c_str();
  catch_crashes();
  std::string seed_folder, write_to;
  size_t n_inputs = kInputs;
  double max_seconds = kSeconds;
  uint64_t seed = 1;
  std::vector<std::string> args(argv + 1, argv + argc);
  if (!args.empty() && args[0] == "--replay") return replay({args.begin() + 1, args.end()});
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--inputs" && i + 1 < args.size()) {
      n_inputs = std::stoull(args[++i]);
    } else if (args[i] == "--seconds" && i + 1 < args.size()) {
      max_seconds = std::stod(args[++i]);
    } else if (args[i] == "--seed" && i + 1 < args.size()) {
      seed = std::stoull(args[++i]);
    } else if (args[i] == "--write-seeds" && i + 1 < args.size()) {
      write_to = args[++i];
    } else {
      seed_folder = args[i];
    }
  }
  const std::vector<std::string> seeds = all_seeds(seed_folder);
  return write_to.empty() ? test(seeds, n_inputs, max_seconds, seed) : write_seeds(seeds, write_to);
}
