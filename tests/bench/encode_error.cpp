// How much the encoders lose and how fast they are, on rows of fixed seeds; beside a peer's when its library is given:
//
//   encode_error [--importance] [libggml-base.so]
//
// Relative error = RMS(decode(encode(x)) - x) / RMS(x) over 256 rows of 4096. The peer encodes through
// ggml_quantize_chunk; the layouts being equal, our decoder reads its blocks. With --importance both encoders are given
// a weight for each column, which is exp(2 g) of a Gaussian g, and errors count by it; without, the peer takes its
// default path, which some of its formats do not have. Speed is of one thread, in processor time.
#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <random>
#include <string_view>
#include <vector>

#include "quant/format.h"

using namespace hearth;

namespace {

constexpr int64_t kRows = 256, kCols = 4096;

// size_t ggml_quantize_chunk(type, src, dst, start, n_rows, n_per_row, imatrix)
using PeerQuantize = size_t(int, const float*, void*, int64_t, int64_t, int64_t, const float*);
using PeerInit = void(int);

bool peer_has(const Format& f, bool importance) {
  const bool wants = f.id == FormatId::iq1_s || f.id == FormatId::iq2_xxs || f.id == FormatId::iq2_xs;
  return uint32_t(f.id) < 0x4801 && (importance || !wants);
}

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

// `weights` of columns; empty: all alike.
Result measure(const Format& f, const std::vector<float>& x, const std::vector<float>& weights,
               const std::function<void(void*)>& encode) {
  std::vector<std::byte> blocks(f.bytes(kCols) * kRows);
  const std::clock_t start = std::clock();
  encode(blocks.data());
  const double seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
  std::vector<float> y(x.size());
  f.decode(blocks.data(), y.data(), int64_t(y.size()));
  double error = 0, power = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double weight = weights.empty() ? 1 : weights[i % kCols];
    error += weight * std::pow(double(y[i]) - x[i], 2);
    power += weight * std::pow(double(x[i]), 2);
  }
  return {std::sqrt(error / power), double(x.size()) / seconds / 1e6};
}

}  // namespace

int main(int argc, char** argv) {
  PeerQuantize* peer = nullptr;
  PeerInit* init = nullptr;
  std::vector<float> weights;
  if (argc > 1 && std::string_view(argv[1]) == "--importance") {
    std::mt19937_64 rng(6);
    std::normal_distribution<float> normal;
    for (int64_t c = 0; c < kCols; ++c) weights.push_back(std::exp(2 * normal(rng)));
    --argc, ++argv;
  }
  const float* const importance = weights.empty() ? nullptr : weights.data();
  if (argc > 1) {
    void* library = dlopen(argv[1], RTLD_LAZY);
    if (!library) return std::fprintf(stderr, "%s\n", dlerror()), 1;
    peer = reinterpret_cast<PeerQuantize*>(dlsym(library, "ggml_quantize_chunk"));
    init = reinterpret_cast<PeerInit*>(dlsym(library, "ggml_quantize_init"));
    if (!peer || !init) return std::fprintf(stderr, "%s: no ggml_quantize_chunk\n", argv[1]), 1;
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
      if (f.id == FormatId::f32 || !f.encode) continue;
      const Result ours = measure(f, rows.x, weights, [&](void* out) {
        for (int64_t r = 0; r < kRows; ++r) {
          f.encode(rows.x.data() + r * kCols, importance, static_cast<std::byte*>(out) + f.bytes(kCols) * size_t(r),
                   kCols);
        }
      });
      std::printf("%-8s %12.6f %12.0f", f.name, ours.error, ours.speed);
      if (peer && peer_has(f, importance)) {
        init(int(f.id));  // tables, which are no part of the time
        const Result theirs = measure(
            f, rows.x, weights, [&](void* out) { peer(int(f.id), rows.x.data(), out, 0, kRows, kCols, importance); });
        std::printf(" %12.6f %12.0f %8.4f", theirs.error, theirs.speed, ours.error / theirs.error);
      }
      std::printf("\n");
    }
  }
}
