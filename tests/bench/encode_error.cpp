// How much the encoders lose and how fast they are, on rows of fixed seeds; beside a peer's when its library is given:
//
//   encode_error [libggml-base.so]
//
// Relative error = RMS(decode(encode(x)) - x) / RMS(x) over 256 rows of 4096. The peer encodes through
// ggml_quantize_chunk without importance (its default path); the layouts being equal, our decoder reads its blocks.
// Speed is of one thread, in processor time.
#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <random>
#include <vector>

#include "quant/format.h"

using namespace hearth;

namespace {

constexpr int64_t kRows = 256, kCols = 4096;

// size_t ggml_quantize_chunk(type, src, dst, start, n_rows, n_per_row, imatrix)
using PeerQuantize = size_t(int, const float*, void*, int64_t, int64_t, int64_t, const float*);

struct Rows {
  const char* name;
  std::vector<float> x;
};

Rows make_rows(const char* name, unsigned seed, const std::function<float(std::mt19937_64&, int64_t)>& draw) {
  std::mt19937_64 rng(seed);
  Rows rows{name, std::vector<float>(kRows * kCols)};
  for (int64_t i = 0; i < kRows * kCols; ++i) rows.x[size_t(i)] = 0.02f * draw(rng, i);
  return rows;
}

struct Result {
  double error, speed;  // speed in millions of weights per second
};

Result measure(const Format& f, const std::vector<float>& x, const std::function<void(void*)>& encode) {
  std::vector<std::byte> blocks(f.bytes(kCols) * kRows);
  const std::clock_t start = std::clock();
  encode(blocks.data());
  const double seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
  std::vector<float> y(x.size());
  f.decode(blocks.data(), y.data(), int64_t(y.size()));
  double error = 0, power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += std::pow(double(y[i]) - x[i], 2);
    power += std::pow(double(x[i]), 2);
  }
  return {std::sqrt(error / power), double(x.size()) / seconds / 1e6};
}

}  // namespace

int main(int argc, char** argv) {
  PeerQuantize* peer = nullptr;
  if (argc > 1) {
    void* library = dlopen(argv[1], RTLD_LAZY);
    if (!library) return std::fprintf(stderr, "%s\n", dlerror()), 1;
    peer = reinterpret_cast<PeerQuantize*>(dlsym(library, "ggml_quantize_chunk"));
    if (!peer) return std::fprintf(stderr, "%s: no ggml_quantize_chunk\n", argv[1]), 1;
  }
  std::normal_distribution<float> normal;
  std::student_t_distribution<float> t4(4), t3(3);
  const Rows sets[] = {
      make_rows("Gaussian", 1, [&](auto& rng, int64_t) { return normal(rng); }),
      make_rows("t, 4 degrees", 2, [&](auto& rng, int64_t) { return t4(rng); }),
      make_rows("t, 3 degrees", 3, [&](auto& rng, int64_t) { return t3(rng); }),
      make_rows("Gaussian, 1 % outliers x 10", 4,
                [&](auto& rng, int64_t) { return normal(rng) * (rng() % 100 == 0 ? 10.0f : 1.0f); }),
      make_rows("Gaussian, offset by 1 sigma", 5, [&](auto& rng, int64_t) { return normal(rng) + 1.0f; }),
  };
  for (const Rows& rows : sets) {
    std::printf("\n%s\n%-8s %12s %12s", rows.name, "format", "error", "M weights/s");
    std::printf(peer ? " %12s %12s %8s\n" : "\n", "peer error", "M weights/s", "ratio");
    for (const Format& f : all_formats()) {
      if (f.id == FormatId::f32) continue;
      const Result ours = measure(f, rows.x, [&](void* out) {
        for (int64_t r = 0; r < kRows; ++r) {
          f.encode(rows.x.data() + r * kCols, nullptr, static_cast<std::byte*>(out) + f.bytes(kCols) * size_t(r),
                   kCols);
        }
      });
      std::printf("%-8s %12.6f %12.0f", f.name, ours.error, ours.speed);
      if (peer && uint32_t(f.id) < 0x4801) {
        const Result theirs =
            measure(f, rows.x, [&](void* out) { peer(int(f.id), rows.x.data(), out, 0, kRows, kCols, nullptr); });
        std::printf(" %12.6f %12.0f %8.4f", theirs.error, theirs.speed, ours.error / theirs.error);
      }
      std::printf("\n");
    }
  }
}
