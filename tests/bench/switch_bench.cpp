// From how many tokens on are panels faster than rows, and the panels of TilePanels faster than those?
//
//   switch_bench [isa] [threads] [format]
//
// For every format of a table, or that one: the time per weight matrix of each way, on cold weights and with all
// threads at work, and the number of tokens from which it wins for good: what FormatEngine::panels_from and
// TilePanels::rounded_from (column "8") should be. It is a constant of each table and not found at start-up, because
// the two ways round differently: a model's answers must not depend on how busy the machine was.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/backend.h"
#include "kernels/cpu/engine.h"
#include "kernels/cpu/parallel.h"
#include "tests/bench/unit_of.h"
#include "tests/support/random_rows.h"

using namespace hearth;

namespace {

constexpr int64_t kRows = 256, kWidth = 2048;  // a piece of an expert of V2-Lite
constexpr size_t kCold = size_t(192) << 20;    // bytes of weights, more than any cache
constexpr int kMostTokens = 128;
constexpr int kMostFew = 24;  // rows are not tried for more

constexpr int kTileTokens[] = {3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128};

// Gaussian weights: 64 rows, again and again.
std::vector<uint8_t> cold_weights(const Format& format, size_t row_bytes, int64_t* n_pieces) {
  *n_pieces = int64_t(kCold / (row_bytes * kRows));
  std::vector<uint8_t> bytes(size_t(*n_pieces) * kRows * row_bytes);
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> row(kWidth);
  const size_t some = 64 * row_bytes;
  for (size_t at = 0; at < some; at += row_bytes) {
    if (!format.encode) {
      test::random_row(rng, format, 0.02f, bytes.data() + at, kWidth);
      continue;
    }
    for (float& x : row) x = normal(rng);
    format.encode(row.data(), nullptr, reinterpret_cast<std::byte*>(bytes.data()) + at, kWidth);
  }
  for (size_t at = some; at < bytes.size(); at += some) {
    std::memcpy(bytes.data() + at, bytes.data(), std::min(some, bytes.size() - at));
  }
  return bytes;
}

// kMostTokens rows of activations in one form.
struct Activations {
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines;
  size_t stride;

  Activations(const Engine& engine, Input input)
      : stride(input == Input::x8 ? (kWidth / kChunk | 1) * sizeof(X8) : kWidth * (input == Input::bf16 ? 2 : 4)) {
    lines.resize(kMostTokens * stride / sizeof(Line));
    std::mt19937 rng(2);
    std::normal_distribution<float> normal;
    std::vector<float> x(kWidth);
    for (int t = 0; t < kMostTokens; ++t) {
      for (float& v : x) v = normal(rng);
      for (int64_t at = 0; at < kWidth; at += kChunk) {
        if (input == Input::x8) engine.quantize(x.data() + at, kChunk, reinterpret_cast<X8*>(row(t)) + at / kChunk);
        if (input == Input::bf16) engine.round(x.data() + at, kChunk, reinterpret_cast<uint16_t*>(row(t)) + at);
      }
      if (input == Input::f32) std::memcpy(row(t), x.data(), kWidth * sizeof(float));
    }
  }
  std::byte* row(int t) { return lines.data()->bytes + size_t(t) * stride; }
};

enum class Way { rows, panels, exact, rounded };  // the last two: TilePanels

// What stands in for panels where there are only tiles.
Way panels_of(const FormatEngine& f) {
  return f.panels ? Way::panels : Way::exact;
}

struct Trial {
  const FormatEngine& f;
  const std::vector<uint8_t>& w;
  size_t row_bytes;
  int64_t n_pieces;
  int n_threads;

  // Seconds per piece, the best of five passes.
  double time(Way way, Activations& x, int T) const {
    const void* rows[kMostTokens];
    for (int t = 0; t < T; ++t) rows[t] = x.row(t);
    const int64_t pieces = std::min<int64_t>(n_pieces / 5, 60);
    double best = 1e9;
    for (int64_t pass = 0; pass < 5; ++pass) {
      const auto start = std::chrono::steady_clock::now();
      parallel_parts(n_threads, pieces, 1, [&](const Part& part) {
        alignas(64) float y[kRows * kMostTokens];
        const auto piece = [&](int64_t i) { return w.data() + size_t(pass * pieces + i) * kRows * row_bytes; };
        const uint8_t* next = part.next < 0 ? nullptr : piece(part.next);
        if (way != Way::rows) {
          const PanelCall call = {piece(part.begin), row_bytes, kRows, kWidth, rows, T, y, kRows, next};
          if (way == Way::panels) f.panels(call);
          if (way == Way::exact) f.tiles.exact(call, f.tiles);
          if (way == Way::rounded) f.tiles.rounded(call, f.tiles);
          return;
        }
        for (int64_t i = 0; i < kRows; i += 64) {  // as products.cpp does
          const uint8_t* strip = piece(part.begin) + size_t(i) * row_bytes;
          for (int t = 0; t < T;) {
            const int which = T - t >= 4 ? 2 : T - t >= 2 ? 1 : 0;
            f.rows[which]({strip, row_bytes, 64, kWidth, rows + t, y + t * kRows + i, kRows,
                           i + 64 < kRows ? strip + 64 * row_bytes : next});
            t += 1 << which;
          }
        }
      });
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best / double(pieces);
  }
};

}  // namespace

int main(int argc, char** argv) {
  const std::string isa = cpu_ops(argc > 1 ? argv[1] : "auto").name;
  const int n_threads = argc > 2 ? std::atoi(argv[2]) : default_threads();
  const Engine* engine = bench::engine_of(isa);
  if (!engine) {
    fmt::print(stderr, "switch_bench: the table {} has one way only\n", isa);
    return 1;
  }
  fmt::print("{}; {} with {} threads; microseconds for {} x {} weights\n", cpu_description(), isa, n_threads, kRows,
             kWidth);
  fmt::print("{:8} {:>5} {:>5}", "format", "now", "best");
  for (const int T : {1, 2, 4, 8, 16, 24}) fmt::print("  rows/panels {:>2}", T);
  fmt::print("  {:>6} {:>5}", "now", "8");
  for (const int T : kTileTokens) fmt::print("  panels/exact/8 {:>4}", T);
  fmt::print("\n");
  for (const Format& format : all_formats()) {
    if (argc > 3 && format.name != std::string_view(argv[3])) continue;
    const FormatEngine& f = row_of(*engine, format.id);
    const size_t row_bytes = format.bytes(kWidth);
    int64_t n_pieces = 0;
    const std::vector<uint8_t> w = cold_weights(format, row_bytes, &n_pieces);
    Activations for_rows(*engine, f.rows_input), for_panels(*engine, f.panels_input);
    const Trial trial = {f, w, row_bytes, n_pieces, n_threads};
    int best = 1;
    std::string line;
    for (int T = 1; T <= kMostFew; ++T) {
      const double rows = trial.time(Way::rows, for_rows, T);
      const double panels = trial.time(panels_of(f), for_panels, T);
      if (rows <= panels) best = T + 1;
      if (T == 1 || T == 2 || T == 4 || T % 8 == 0) line += fmt::format("  {:6.1f}/{:7.1f}", rows * 1e6, panels * 1e6);
    }
    fmt::print("{:8} {:5} {:5}{}", format.name, f.panels_from, best > kMostFew ? ">24" : std::to_string(best), line);
    if (f.tiles.rounded) {
      int last = 0;  // number of tokens that is faster in exact panels
      line.clear();
      for (const int T : kTileTokens) {
        const double panels = trial.time(Way::panels, for_panels, T);
        const double exact = f.tiles.exact ? trial.time(Way::exact, for_panels, T) : 0;
        const double rounded = trial.time(Way::rounded, for_panels, T);
        if ((f.tiles.exact ? std::min(exact, panels) : panels) <= rounded) last = T;
        line += fmt::format("  {:6.1f}/{:6.1f}/{:6.1f}", panels * 1e6, exact * 1e6, rounded * 1e6);
      }
      fmt::print("  {:2},{:3} {:>5}{}", f.tiles.exact_from, f.tiles.rounded_from, fmt::format(">{}", last), line);
    }
    fmt::print("\n");
    std::fflush(stdout);
  }
}
