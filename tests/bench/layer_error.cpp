// How exact one layer of experts is: moe_ffn of every format and every table of kernels that runs here.
//
//   layer_error [FORMAT] [--against FILE]
//
// Relative RMS error of y, RMS(y - reference) / RMS(reference), the reference in float64: (a) of the weights before
// they were quantized, what the format costs together with the kernels; (b) of the weights as the file has them, what
// the kernels add. 2 experts of 512 x 768 Gaussian weights, both for each token, of fixed seeds. Activations are
// Gaussian, or Gaussian with four channels of 512 that are 20 times larger. Formats without an encoder have random
// blocks, and (b) alone.
//
// Tokens come one by one (the first 16 of them), 8 at once, and 128 at once: to each expert, so that all kernels for
// many tokens have enough.
//
// --against: FILE is what an earlier run printed; ends with 1 where an error is more than 1.05 times the one there.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cpu/backend.h"
#include "runtime/model/buffer.h"
#include "tests/support/random_rows.h"

using namespace hearth;

namespace {

constexpr int64_t kExperts = 2, kUsed = 2, kDim = 512, kHidden = 768, kTokens = 128;
constexpr int64_t kAlone = 16;  // tokens that also come one by one
constexpr int64_t kAtOnce[] = {1, 8, kTokens};
constexpr double kMostWorse = 1.05;

std::vector<float> gaussian(uint32_t seed, size_t n, float size) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, size);
  std::vector<float> x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

// gate, up [E, n, d] and down [E, d, n] as floats, [3].
struct FloatWeights {
  std::vector<float> of[3];
};
constexpr int64_t rows_of(int which) {
  return which == 2 ? kDim : kHidden;
}
constexpr int64_t cols_of(int which) {
  return which == 2 ? kHidden : kDim;
}

// The same in a format.
struct Encoded {
  std::vector<std::byte> bytes[3];
  FfnWeights view;
  FloatWeights decoded;

  Encoded(const Format& f, const FloatWeights& original) {
    Weight* const views[] = {&view.gate, &view.up, &view.down};
    for (int i = 0; i < 3; ++i) {
      const int64_t n = rows_of(i), k = cols_of(i), all = kExperts * n;
      const size_t row_bytes = f.bytes(k);
      bytes[i].resize(size_t(all) * row_bytes);
      decoded.of[i].resize(size_t(all * k));
#pragma omp parallel for
      for (int64_t r = 0; r < all; ++r) {
        std::byte* const row = bytes[i].data() + size_t(r) * row_bytes;
        if (f.encode) {
          f.encode(original.of[i].data() + r * k, nullptr, row, k);
        } else {
          std::mt19937 rng(uint32_t(r * 3 + i));
          test::random_row(rng, f, 0.02f, row, k);
        }
        f.decode(row, decoded.of[i].data() + r * k, k);
      }
      *views[i] = {&f, bytes[i].data(), kExperts, n, k, row_bytes, row_bytes * size_t(n)};
    }
  }
};

struct Batch {
  const char* name;
  std::vector<float> x;        // [T, d]
  std::vector<int32_t> ids;    // [T, K]
  std::vector<float> weights;  // [T, K]

  Batch(const char* name, bool outliers) : name(name), x(gaussian(7, size_t(kTokens * kDim), 1)) {
    std::mt19937 rng(8);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (const int64_t channel : {3, 130, 257, 444}) x[size_t(t * kDim + channel)] *= outliers ? 20 : 1;
      const int32_t first = int32_t(rng() % kExperts),
                    second = int32_t((first + 1 + rng() % (kExperts - 1)) % kExperts);
      ids.insert(ids.end(), {first, second});
      const float share = 0.25f + 0.5f * float(rng() % 1024) / 1024;
      weights.insert(weights.end(), {share, 1 - share});
    }
  }
};

double dot(const float* w, const double* x, int64_t n) {
  double sums[8] = {};
  for (int64_t i = 0; i < n; i += 8) {
    for (int64_t j = 0; j < 8; ++j) sums[j] += double(w[i + j]) * x[i + j];
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// y [T, d] in float64.
std::vector<double> reference(const FloatWeights& w, const Batch& batch) {
  std::vector<double> y(size_t(kTokens * kDim));
#pragma omp parallel for schedule(dynamic, 4)
  for (int64_t t = 0; t < kTokens; ++t) {
    const std::vector<double> x(batch.x.begin() + t * kDim, batch.x.begin() + (t + 1) * kDim);
    std::vector<double> h(kHidden);
    for (int64_t k = 0; k < kUsed; ++k) {
      const int64_t e = batch.ids[size_t(t * kUsed + k)];
      for (int64_t i = 0; i < kHidden; ++i) {
        const double gate = dot(w.of[0].data() + (e * kHidden + i) * kDim, x.data(), kDim);
        h[size_t(i)] = gate / (1 + std::exp(-gate)) * dot(w.of[1].data() + (e * kHidden + i) * kDim, x.data(), kDim);
      }
      for (int64_t i = 0; i < kDim; ++i) {
        y[size_t(t * kDim + i)] += double(batch.weights[size_t(t * kUsed + k)]) *
                                   dot(w.of[2].data() + (e * kDim + i) * kHidden, h.data(), kHidden);
      }
    }
  }
  return y;
}

// A table of kernels with its scratch.
class Kernels {
 public:
  explicit Kernels(const Ops& ops) : ops_(ops) {
    ScratchLimits l;
    l.max_tokens = kTokens;
    l.max_width = l.inter_dim = l.moe_inter_dim = kHidden;
    l.dim = kDim;
    l.n_experts = kExperts;
    l.n_activated = kUsed;
    l.n_threads = default_threads();
    // (Of attention, which is not run.)
    l.n_heads = 1;
    l.n_ctx = l.kv_lora_rank = l.qk_nope_head_dim = l.qk_rope_head_dim = l.v_head_dim = 64;
    memory_ = Buffer(host_device(), ops.scratch_bytes(l), "scratch");
    exec_ = {l.n_threads, {memory_.data(), memory_.bytes()}, nullptr};
  }
  const char* name() const { return ops_.name; }

  // The first n tokens, so many at once.
  std::vector<float> run(const FfnWeights& w, const Batch& batch, int64_t n, int64_t at_once) const {
    std::vector<float> y(size_t(n * kDim), NAN);
    for (int64_t t = 0; t < n; t += at_once) {
      ops_.moe_ffn(exec_, w, {}, batch.ids.data() + t * kUsed, batch.weights.data() + t * kUsed, kUsed,
                   {batch.x.data() + t * kDim, at_once, kDim}, {y.data() + t * kDim, at_once, kDim});
    }
    return y;
  }

 private:
  const Ops& ops_;
  Buffer memory_;
  Exec exec_;
};

double relative_error(const std::vector<float>& y, const std::vector<double>& expected) {
  double error = 0, power = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    error += (y[i] - expected[i]) * (y[i] - expected[i]);
    power += expected[i] * expected[i];
  }
  return std::sqrt(error / power);
}

// What an earlier run printed: [activations, format, table] -> the six errors, or three.
std::map<std::string, std::vector<double>> read_errors(const char* path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorKind::file, fmt::format("{}: cannot be read", path));
  std::map<std::string, std::vector<double>> errors;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string activations, format, table, word;
    words >> activations >> format >> table;
    std::vector<double> values;
    while (words >> word) values.push_back(word == "-" ? NAN : std::atof(word.c_str()));
    if (values.size() == 6) errors[fmt::format("{} {} {}", activations, format, table)] = values;
  }
  return errors;
}

class Table {
 public:
  explicit Table(const char* against) {
    if (against) before_ = read_errors(against);
    fmt::print("{:12} {:8} {:13}{:^36}{:^36}\n", "", "", "", "(a) of the original weights",
               "(b) of the file's weights");
    fmt::print("{:12} {:8} {:13}", "activations", "format", "table");
    for (int i = 0; i < 2; ++i) {
      for (const int64_t n : kAtOnce) fmt::print(" {:>11}", fmt::format("{} at once", n));
    }
    fmt::print("\n");
  }

  // NaN: has none.
  void row(const std::string& key, const std::vector<double>& errors) {
    for (size_t start = 0; start < key.size();) {
      const size_t end = std::min(key.find(' ', start), key.size());
      fmt::print("{:{}} ", key.substr(start, end - start), start == 0 ? 12 : end < key.size() ? 8 : 12);
      start = end + 1;
    }
    const auto before = before_.find(key);
    for (size_t i = 0; i < errors.size(); ++i) {
      if (std::isnan(errors[i])) {
        fmt::print(" {:>11}", "-");
        continue;
      }
      const bool worse = before != before_.end() && errors[i] > kMostWorse * before->second[i];
      fmt::print(" {:>10.3e}{}", errors[i], worse ? "!" : " ");
      n_worse_ += worse;
    }
    n_compared_ += before != before_.end();
    fmt::print("\n");
    std::fflush(stdout);
  }

  // Of a comparison.
  int over() const {
    if (before_.empty()) return 0;
    fmt::print("{} rows compared: {} errors are more than {} times what they were\n", n_compared_, n_worse_,
               kMostWorse);
    return n_worse_ > 0 || n_compared_ == 0;
  }

 private:
  std::map<std::string, std::vector<double>> before_;
  int n_worse_ = 0, n_compared_ = 0;
};

int run(std::string_view only, const char* against) {
  const Batch batches[] = {{"Gaussian", false}, {"outliers", true}};
  FloatWeights original;
  for (int i = 0; i < 3; ++i) {
    original.of[i] = gaussian(uint32_t(i + 1), size_t(kExperts * rows_of(i) * cols_of(i)), 0.02f);
  }
  std::vector<double> exact[2];
  for (int b = 0; b < 2; ++b) exact[b] = reference(original, batches[b]);
  std::vector<Kernels> tables;
  for (const CpuIsa& isa : cpu_isas())
    if (isa.available) tables.emplace_back(*isa.ops);

  Table table(against);
  bool found = false;
  for (const Format& format : all_formats()) {
    if (!only.empty() && only != format.name) continue;
    found = true;
    const Encoded w(format, original);
    for (int b = 0; b < 2; ++b) {
      const std::vector<double> decoded = reference(w.decoded, batches[b]);
      for (const Kernels& kernels : tables) {
        std::vector<double> of_original, of_file;
        for (const int64_t at_once : kAtOnce) {
          const std::vector<float> y = kernels.run(w.view, batches[b], at_once == 1 ? kAlone : kTokens, at_once);
          of_original.push_back(format.encode ? relative_error(y, exact[b]) : NAN);
          of_file.push_back(relative_error(y, decoded));
        }
        of_original.insert(of_original.end(), of_file.begin(), of_file.end());
        table.row(fmt::format("{} {} {}", batches[b].name, format.name, kernels.name()), of_original);
      }
    }
  }
  require(found, ErrorKind::usage, "no format is called {}", only);
  return table.over();
}

}  // namespace

int main(int argc, char** argv) try {
  std::string_view only;
  const char* against = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--against" && i + 1 < argc) {
      against = argv[++i];
    } else {
      only = argv[i];
    }
  }
  return run(only, against);
} catch (const Error& error) {
  fmt::print(stderr, "layer_error: {}\n", error.what());
  return 2;
}
