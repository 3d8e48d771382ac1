// Speed of the CPU operations, with the shapes of V2-Lite.   ops_bench [isa] [threads]
//
// Weights are read cold (each matrix is larger than the caches, or one of many in turn). Shares are of what the same
// number of threads reads, or multiplies and adds in registers, in loops that do nothing else. Times are the best of
// several, since other work on the machine only adds.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "kernels/cpu/backend.h"
#include "tests/kernels/pages.h"
#include "tests/support/random_rows.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace hearth;

namespace {

// The best time of one call, over about a third of a second and at least three calls.
double seconds(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9, total = 0;
  for (int i = 0; i < 3 || (total < 0.3 && i < 1000); ++i) {
    const auto start = Clock::now();
    call();
    const double s = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, s);
    total += s;
  }
  return best;
}

struct Peak {
  double read = 0;  // bytes/s
  double fma = 0;   // float operations/s: 8 lanes, AVX2
};

// 8 MB of 256 in turn: cold like the weights, and short enough that some calls are undisturbed. Four streams, since one
// core reads more from several than from one.
double read_rate(int n_threads) {
  const size_t n = size_t(32) << 20, part = size_t(1) << 20;
  std::vector<uint64_t> data(n, 1);
  uint64_t total = 0;
  size_t turn = 0;
  const double s = seconds([&] {
    const uint64_t* from = data.data() + turn++ % (n / part) * part;
    uint64_t sum = 0;
#pragma omp parallel for num_threads(n_threads) reduction(+ : sum)
    for (size_t i = 0; i < part / 4; ++i) {
      sum += (from[i] + from[i + part / 4]) + (from[i + part / 2] + from[i + part / 4 * 3]);
    }
    total += sum;
  });
  return total == 0 ? 0 : double(part) * 8 / s;
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] float fma_loop(int64_t n) {
  __m256 a[12];
  for (int i = 0; i < 12; ++i) a[i] = _mm256_set1_ps(float(i));
  const __m256 b = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(0.001f);
  for (int64_t i = 0; i < n; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) a[j] = _mm256_fmadd_ps(a[j], b, c);
  }
  for (int j = 1; j < 12; ++j) a[0] = _mm256_add_ps(a[0], a[j]);
  return _mm256_cvtss_f32(a[0]);
}
#endif

double fma_rate(int n_threads) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  const int64_t n = 100'000;
  float sum = 0;
  const double s = seconds([&] {
#pragma omp parallel for num_threads(n_threads) reduction(+ : sum)
    for (int t = 0; t < n_threads; ++t) sum += fma_loop(n);
  });
  return sum == 0 ? 0 : double(n) * 12 * 8 * 2 * n_threads / s;
#else
  (void)n_threads;
  return 0;
#endif
}

// `count` matrices: the first 64 rows are encoded Gaussian weights, the others repeat them.
struct BenchWeight {
  Weight view;
  std::vector<std::byte> bytes;

  BenchWeight(FormatId id, int64_t count, int64_t n, int64_t k) {
    const Format& format = format_of(id);
    const size_t row_bytes = format.bytes(k);
    bytes.resize(row_bytes * size_t(count * n));
    std::mt19937 rng(1);
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> row(static_cast<size_t>(k));
    const size_t first = std::min<size_t>(64, size_t(count * n));
    for (size_t i = 0; i < first; ++i) {
      if (!format.encode) {
        test::random_row(rng, format, 0.02f, bytes.data() + i * row_bytes, k);
        continue;
      }
      for (float& x : row) x = normal(rng);
      format.encode(row.data(), nullptr, bytes.data() + i * row_bytes, k);
    }
    for (size_t at = first * row_bytes; at < bytes.size(); at += first * row_bytes) {
      std::memcpy(bytes.data() + at, bytes.data(), std::min(first * row_bytes, bytes.size() - at));
    }
    view = {&format, bytes.data(), count, n, k, row_bytes, row_bytes * size_t(n)};
  }
};

std::vector<float> random_floats(size_t n) {
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  for (float& v : x) v = normal(rng);
  return x;
}

struct Bench {
  const Ops& ops;
  Peak peak;
  std::vector<std::byte> memory;
  Exec exec;

  Bench(const Ops& ops, int n_threads) : ops(ops) {
    ScratchLimits l;
    l.max_tokens = 512;
    l.max_width = 10944;
    l.n_heads = 128;
    l.kv_lora_rank = 512;
    l.qk_nope_head_dim = l.v_head_dim = 128;
    l.qk_rope_head_dim = 64;
    l.dim = 2048;
    l.inter_dim = 10944;
    l.moe_inter_dim = 1408;
    l.shared_inter_dim = 2816;
    l.n_experts = 64;
    l.n_activated = 6;
    l.n_ctx = 8192;
    l.n_threads = n_threads;
    l.alike = true;
    memory.resize(ops.scratch_bytes(l) + 64);
    std::byte* aligned = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
    exec = {n_threads, {aligned, memory.size() - 64}, nullptr};
  }

  void print(const std::string& name, double s, double bytes, double flops) const {
    const std::string read_share = peak.read > 0 ? fmt::format("{:3.0f} %", 100 * bytes / s / peak.read) : "";
    const std::string fma_share = peak.fma > 0 ? fmt::format("{:3.0f} %", 100 * flops / s / peak.fma) : "";
    fmt::print("{:<44} {:9.3f} ms  {:7.2f} GB/s {:>6}  {:8.2f} GFLOP/s {:>6}\n", name, s * 1e3, bytes / s * 1e-9,
               read_share, flops / s * 1e-9, fma_share);
  }

  void matmul(FormatId id, int64_t n, int64_t k, int64_t T) const {
    const int64_t count =
        T <= 16 ? std::max<int64_t>(1, (int64_t(192) << 20) / int64_t(format_of(id).bytes(k) * n)) : 1;
    const BenchWeight w(id, count, n, k);
    const std::vector<float> x = random_floats(size_t(T * k));
    std::vector<float> y(size_t(T * n));
    int64_t turn = 0;
    const double s = seconds([&] {
      Weight one = w.view;
      one.data = w.view.row(turn++ % count, 0);
      ops.matmul(exec, one, {x.data(), T, k}, {y.data(), T, n});
    });
    print(fmt::format("matmul {} {}x{} T={}", format_of(id).name, n, k, T), s, double(w.view.matrix_stride),
          2.0 * double(n * k * T));
  }

  void moe(FormatId in, FormatId out, int64_t E, int64_t K, int64_t d, int64_t n, int64_t T, bool alike = false) const {
    Exec how = exec;
    how.alike = alike;
    const BenchWeight gate(in, E, n, d), up(in, E, n, d), down(out, E, d, n);
    const std::vector<float> x = random_floats(size_t(T * d)), weights(size_t(T * K), 0.2f);
    std::vector<float> y(size_t(T * d));
    std::mt19937 rng(3);
    std::vector<int32_t> ids(size_t(T * K)), all(static_cast<size_t>(E));
    for (int64_t e = 0; e < E; ++e) all[e] = int32_t(e);
    double used = 0;
    const double s = seconds([&] {
      std::vector<bool> seen(static_cast<size_t>(E));
      for (int64_t t = 0; t < T; ++t) {
        std::shuffle(all.begin(), all.end(), rng);
        std::copy_n(all.begin(), K, ids.begin() + t * K);
        for (int64_t k = 0; k < K; ++k) seen[all[k]] = true;
      }
      used = double(std::count(seen.begin(), seen.end(), true));
      ops.moe_ffn(how, {gate.view, up.view, down.view}, {}, ids.data(), weights.data(), K, {x.data(), T, d},
                  {y.data(), T, d});
    });
    print(fmt::format("moe_ffn {}/{} {}x{} K={} T={}{}", format_of(in).name, format_of(out).name, n, d, K, T,
                      alike ? " alike" : ""),
          s, used * double(2 * gate.view.matrix_stride + down.view.matrix_stride), 6.0 * double(n * d * T * K));
  }

  void attend(bool absorbed, int64_t H, int64_t T, int64_t pos0) const {
    const int64_t r = 512, dr = 64, nope = 128, v = 128, first = absorbed ? r : nope, value = absorbed ? r : v;
    const test::PageTable table(pos0 + T);
    const test::Standing standing(table, pos0, T);
    LatentCache cache{nullptr, FormatId::bf16, table.n_rows(), r, dr};
    std::vector<std::byte> rows(cache.row_bytes() * size_t(cache.n_rows));
    const std::vector<float> values = random_floats(rows.size() / 2);
    format_of(FormatId::bf16).encode(values.data(), nullptr, rows.data(), int64_t(values.size()));
    cache.data = rows.data();
    const BenchWeight k_b(FormatId::q8_0, H, r, nope), v_b(FormatId::q8_0, H, v, r);
    std::vector<float> q = random_floats(size_t(T * H * (first + dr))), o(size_t(T * H * value));
    const Heads<const float> q0 = {q.data(), T, H, first, H * (first + dr), first + dr};
    const Heads<const float> q1 = {q.data() + first, T, H, dr, H * (first + dr), first + dr};
    const Heads<float> out = {o.data(), T, H, value, H * value, value};
    const double s = seconds([&] {
      if (absorbed) {
        ops.mla_attend(exec, q0, q1, cache, standing.at, 0.1f, out);
      } else {
        ops.mha_attend(exec, q0, q1, k_b.view, v_b.view, cache, standing.at, 0.1f, out);
      }
    });
    const double pairs = double(H) * (double(T * pos0) + 0.5 * double(T * (T + 1)));
    const double expand = absorbed ? 0 : double(H * (pos0 + T)) * double(r * (nope + v));
    print(fmt::format("{} H={} T={} at {}", absorbed ? "mla_attend" : "mha_attend", H, T, pos0), s,
          double(cache.row_bytes() * size_t(pos0 + T)), 2 * (pairs * double(first + dr + value) + expand));
  }
};

}  // namespace

int main(int argc, char** argv) {
  const Ops& ops = cpu_ops(argc > 1 ? argv[1] : "auto");
  const int n_threads = argc > 2 ? std::atoi(argv[2]) : default_threads();
  fmt::print("{}; running {} with {} threads\n", cpu_description(), ops.name, n_threads);
  Bench bench(ops, n_threads);
  bench.peak = {read_rate(n_threads), fma_rate(n_threads)};
  fmt::print("read {:.1f} GB/s, f32 FMA {:.1f} GFLOP/s\n", bench.peak.read * 1e-9, bench.peak.fma * 1e-9);
  for (const FormatId id : {FormatId::f32, FormatId::bf16, FormatId::f16, FormatId::q8_0, FormatId::q4_k,
                            FormatId::q6_k, FormatId::f8_e4m3, FormatId::i4_g128}) {
    bench.matmul(id, 2048, 2048, 1);
  }
  for (const FormatId id : {FormatId::q5_0, FormatId::q8_0}) bench.matmul(id, 2048, 1408, 1);
  for (const int64_t T : {1, 2, 3, 4, 5, 6, 8, 16, 64, 512}) bench.matmul(FormatId::q4_k, 1408, 2048, T);
  for (const FormatId id : {FormatId::bf16, FormatId::q6_k}) bench.matmul(id, 1408, 2048, 64);
  for (const int64_t T : {1, 4, 64, 512}) {
    for (const bool alike : {false, true}) {
      bench.moe(FormatId::q4_k, FormatId::q5_0, 64, 6, 2048, 1408, T, alike);
      bench.moe(FormatId::q8_0, FormatId::q8_0, 64, 6, 2048, 1408, T, alike);
    }
  }
  bench.attend(true, 16, 1, 1023);
  bench.attend(true, 128, 1, 1023);
  bench.attend(false, 16, 256, 0);
  bench.attend(false, 16, 256, 768);
}
