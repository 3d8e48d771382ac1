// How fast the CUDA backend's operations are, beside what the GPU's memory allows: rows for the table of
// tests/device_check.sh.
//
//   cuda_bench [--tiny]
//
// Everything goes through the table of operations, as the forward does. Calls are recorded as a graph and replayed, as
// decoding does, so that what is measured is kernels and the gaps between them. Weights and caches are so many, in
// turn, that none is found in the GPU's L2 cache. --tiny: small shapes, to try the program itself (also emulated).
#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/kernel.h"
#include "tests/kernels/pages.h"
#include "tests/support/random_rows.h"

namespace hearth {
namespace {

bool tiny = false;
int64_t shrunk(int64_t size, int64_t tiny_size) {
  return tiny ? tiny_size : size;
}
const size_t kBeyondL2 = size_t(256) << 20;

[[noreturn]] void give_up(const char* what, const std::string& why) {
  std::fprintf(stderr, "cuda_bench: %s: %s\n", what, why.c_str());
  std::exit(1);
}
void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) give_up(what, cudaGetErrorString(error));
}

// | what | value | note |
__attribute__((format(printf, 3, 4))) void row(const std::string& what, double value, const char* format, ...) {
  char rest[200];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(rest, sizeof rest, format, arguments);
  va_end(arguments);
  std::printf("| %s | %.4g %s |\n", what.c_str(), value, rest);
  std::fflush(stdout);
}

// ---- The device

struct Bench {
  const Ops& ops;
  Device& device;
  Exec exec;
  double copy_bandwidth = 0;  // bytes/s, read and written

  cudaStream_t stream() const { return static_cast<const gpu::Queue*>(exec.queue)->stream; }
  void finish(const char* what) const {
    if (const std::string why = device.finish(); !why.empty()) give_up(what, why);
  }
};

// Memory of the backend, given back at the end.
template <class T>
class Buffer {
 public:
  Buffer(const Bench& bench, size_t n) : bench_(bench), n_(n) {
    data_ = reinterpret_cast<T*>(bench.device.buffer(n * sizeof(T)));
    if (!data_) give_up("memory", std::to_string(n * sizeof(T)) + " bytes are not to be had");
  }
  Buffer(const Bench& bench, const std::vector<T>& values) : Buffer(bench, values.size()) { fill(values); }
  Buffer(const Buffer&) = delete;
  ~Buffer() { bench_.device.release(reinterpret_cast<std::byte*>(data_), n_ * sizeof(T)); }

  // The values again and again.
  void fill(const std::vector<T>& values) {
    for (size_t at = 0; at < n_; at += values.size()) {
      bench_.device.move(values.data(), data_ + at, std::min(values.size(), n_ - at) * sizeof(T));
    }
    bench_.finish("filling memory");
  }
  T* data() const { return data_; }

 private:
  const Bench& bench_;
  size_t n_;
  T* data_ = nullptr;
};

// The time of one of the calls queue(0) .. queue(n - 1), which are replayed together: the median of seven replays.
double seconds_per_call(const Bench& bench, int n, const std::function<void(int)>& queue) {
  queue(0);  // loads the kernels
  bench.finish("a first call");
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  check(cudaStreamBeginCapture(bench.stream(), cudaStreamCaptureModeRelaxed), "recording");
  for (int i = 0; i < n; ++i) queue(i);
  check(cudaStreamEndCapture(bench.stream(), &graph), "recording");
  check(cudaGraphInstantiate(&replay, graph, 0), "recording");
  cudaEvent_t start, stop;
  check(cudaEventCreate(&start), "an event");
  check(cudaEventCreate(&stop), "an event");
  std::vector<double> seconds;
  for (int i = 0; i < 1 + (tiny ? 1 : 7); ++i) {
    check(cudaEventRecord(start, bench.stream()), "an event");
    check(cudaGraphLaunch(replay, bench.stream()), "a replay");
    check(cudaEventRecord(stop, bench.stream()), "an event");
    bench.finish("a replay");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start, stop), "an event");
    if (i > 0) seconds.push_back(std::max(1e-9, double(milliseconds) * 1e-3 / n));  // the first replay warms up
  }
  check(cudaEventDestroy(start), "an event");
  check(cudaEventDestroy(stop), "an event");
  check(cudaGraphExecDestroy(replay), "recording");
  check(cudaGraphDestroy(graph), "recording");
  std::nth_element(seconds.begin(), seconds.begin() + std::ptrdiff_t(seconds.size() / 2), seconds.end());
  return seconds[seconds.size() / 2];
}

// How many things of so many bytes are more than the L2 cache holds.
int copies_of(size_t bytes) {
  return tiny ? 2 : int(std::clamp<size_t>(kBeyondL2 / bytes + 1, 2, 64));
}

std::vector<float> gaussian(size_t n, float size) {
  std::mt19937 rng(1);
  std::normal_distribution<float> distribution(0, size);
  std::vector<float> values(n);
  for (float& v : values) v = distribution(rng);
  return values;
}

// Weights of a format, every row the same: what they are changes no time.
class BenchWeight {
 public:
  BenchWeight(const Bench& bench, FormatId id, int64_t count, int64_t n, int64_t k)
      : memory_(bench, format_of(id).bytes(k) * size_t(count * n)) {
    const Format& format = format_of(id);
    std::vector<std::byte> one(format.bytes(k)), all(one.size() * size_t(count * n));
    std::mt19937 rng(1);
    if (format.encode) {
      format.encode(gaussian(size_t(k), 0.02f).data(), nullptr, one.data(), k);
    } else {
      test::random_row(rng, format, 0.02f, one.data(), k);
    }
    for (size_t at = 0; at < all.size(); at += one.size()) std::memcpy(all.data() + at, one.data(), one.size());
    memory_.fill(all);
    const Shape shape = count == 1 ? Shape(n, k) : Shape(count, n, k);
    view = as_weight(Tensor{"bench", &format, shape, memory_.data()});
  }
  size_t bytes() const { return size_t(view.count * view.n) * view.row_bytes; }

  Weight view;

 private:
  Buffer<std::byte> memory_;
};

// ---- Memory

void measure_copies(Bench& bench) {
  const size_t bytes = size_t(shrunk(int64_t(1) << 30, 1 << 20));
  const Buffer<std::byte> from(bench, bytes), to(bench, bytes);
  const double seconds = seconds_per_call(bench, 4, [&](int) {
    check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, bench.stream()), "a copy");
  });
  bench.copy_bandwidth = 2 * double(bytes) / seconds;
  row("copy within the GPU", bench.copy_bandwidth / 1e9, "GB/s | read and written; shares below are of this");

  const std::vector<std::byte> host(bytes, std::byte(1));  // pageable, as a mapped file is
  const auto start = std::chrono::steady_clock::now();
  bench.device.move(host.data(), to.data(), bytes);
  bench.finish("uploading");
  const double upload = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  row("upload of weights", double(bytes) / upload / 1e9, "GB/s | %.2f GB from pageable memory", double(bytes) / 1e9);
}

// ---- Products

// One token: bytes. The rows and columns of a large dense matrix of V2-Lite.
void measure_decode_matmul(const Bench& bench, FormatId id) {
  const int64_t n = shrunk(10944, 48), k = shrunk(2048, 256);
  std::vector<std::unique_ptr<BenchWeight>> weights;
  weights.push_back(std::make_unique<BenchWeight>(bench, id, 1, n, k));
  const int copies = copies_of(weights[0]->bytes());
  while (int(weights.size()) < copies) weights.push_back(std::make_unique<BenchWeight>(bench, id, 1, n, k));
  const Buffer<float> x(bench, gaussian(size_t(k), 1)), y(bench, size_t(n));
  const double seconds = seconds_per_call(bench, copies, [&](int i) {
    bench.ops.matmul(bench.exec, weights[size_t(i)]->view, {x.data(), 1, k}, {y.data(), 1, n});
  });
  const double bandwidth = double(weights[0]->bytes()) / seconds;
  row(std::string("decode matmul ") + format_of(id).name, bandwidth / 1e9,
      "GB/s | %.0f %% of copy; [%lld, %lld] in %.1f us", 100 * bandwidth / bench.copy_bandwidth, (long long)n,
      (long long)k, seconds * 1e6);
}

void measure_prefill_matmul(const Bench& bench, FormatId id) {
  const int64_t n = shrunk(10944, 48), k = shrunk(2048, 256), T = shrunk(2048, 20);
  const BenchWeight weight(bench, id, 1, n, k);
  const Buffer<float> x(bench, gaussian(size_t(T * k), 1)), y(bench, size_t(T * n));
  const double seconds = seconds_per_call(bench, 4, [&](int) {
    bench.ops.matmul(bench.exec, weight.view, {x.data(), T, k}, {y.data(), T, n});
  });
  row(std::string("prefill matmul ") + format_of(id).name, 2 * double(T) * double(n) * double(k) / seconds / 1e12,
      "TFLOP/s | %lld tokens, [%lld, %lld]", (long long)T, (long long)n, (long long)k);
}

constexpr int64_t kMostColumns = 64;

// Few tokens, as a short question or several guesses at once: up to 8 go straight from the blocks, more in tiles.
void measure_columns(const Bench& bench, int64_t T) {
  const int64_t n = shrunk(10944, 48), k = shrunk(2048, 256);
  std::vector<std::unique_ptr<BenchWeight>> weights;
  const int copies = copies_of(format_of(FormatId::q4_k).bytes(k) * size_t(n));
  while (int(weights.size()) < copies) weights.push_back(std::make_unique<BenchWeight>(bench, FormatId::q4_k, 1, n, k));
  const Buffer<float> x(bench, gaussian(size_t(T * k), 1)), y(bench, size_t(T * n));
  const double seconds = seconds_per_call(bench, copies, [&](int i) {
    bench.ops.matmul(bench.exec, weights[size_t(i)]->view, {x.data(), T, k}, {y.data(), T, n});
  });
  row("matmul Q4_K, " + std::to_string(T) + " columns", seconds * 1e6, "us | %.2f us a column; [%lld, %lld]",
      seconds * 1e6 / double(T), (long long)n, (long long)k);
}

// One layer of V2-Lite: 6 of 64 experts, and the shared ones.
void measure_experts(const Bench& bench, int64_t T) {
  const int64_t E = shrunk(64, 8), K = shrunk(6, 2), d = shrunk(2048, 256), n = shrunk(1408, 32), s = 2 * n;
  const auto matrix = [&](FormatId id, int64_t count, int64_t rows, int64_t cols) {
    return BenchWeight(bench, id, count, rows, cols);
  };
  const BenchWeight gate = matrix(FormatId::q4_k, E, n, d), up = matrix(FormatId::q4_k, E, n, d),
                    down = matrix(FormatId::q5_0, E, d, n);
  const BenchWeight shared_gate = matrix(FormatId::q4_k, 1, s, d), shared_up = matrix(FormatId::q4_k, 1, s, d),
                    shared_down = matrix(FormatId::q5_0, 1, d, s);
  const int n_calls = tiny ? 2 : 16;
  std::mt19937 rng(1);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n_calls * T; ++i) {
    std::vector<int32_t> experts(size_t(E), 0);
    for (int64_t e = 0; e < E; ++e) experts[size_t(e)] = int32_t(e);
    std::shuffle(experts.begin(), experts.end(), rng);
    ids.insert(ids.end(), experts.begin(), experts.begin() + K);
  }
  const Buffer<int32_t> device_ids(bench, ids);
  const Buffer<float> weights(bench, std::vector<float>(size_t(T * K), 0.2f)), x(bench, gaussian(size_t(T * d), 1)),
      y(bench, size_t(T * d));
  const double seconds = seconds_per_call(bench, n_calls, [&](int i) {
    bench.ops.moe_ffn(bench.exec, {gate.view, up.view, down.view}, {shared_gate.view, shared_up.view, shared_down.view},
                      device_ids.data() + i * T * K, weights.data(), K, {x.data(), T, d}, {y.data(), T, d});
  });
  const double shared_bytes = double(shared_gate.bytes() + shared_up.bytes() + shared_down.bytes());
  const double bytes = double(gate.bytes() + up.bytes() + down.bytes()) * double(K) / double(E) + shared_bytes;
  const double flops = 2.0 * double(T) * double(3 * d) * double(K * n + s);
  if (T == 1) {
    row("decode experts", bytes / seconds / 1e9, "GB/s | %.0f %% of copy; %lld of %lld and shared, in %.1f us",
        100 * bytes / seconds / bench.copy_bandwidth, (long long)K, (long long)E, seconds * 1e6);
  } else if (T <= (tiny ? 16 : kMostColumns)) {
    row("experts, " + std::to_string(T) + " columns", seconds * 1e6, "us | %.2f us a column",
        seconds * 1e6 / double(T));
  } else {
    row("prefill experts", flops / seconds / 1e12, "TFLOP/s | %lld tokens, %lld of %lld and shared", (long long)T,
        (long long)K, (long long)E);
  }
}

// ---- Attention: r 512, rope 64, nope and v 128

constexpr int64_t kLora = 512, kRope = 64, kNope = 128, kValue = 128;

// Values of about 1 in bf16.
std::vector<uint16_t> random_latents() {
  std::vector<uint16_t> values;
  for (const float v : gaussian(1 << 20, 1)) values.push_back(float_to_bf16(v));
  return values;
}

// Where the last T of n_tokens stand, in the GPU's memory.
struct DeviceStanding {
  DeviceStanding(const Bench& bench, int64_t n_tokens, int64_t T)
      : table(n_tokens),
        ids(bench, test::Standing(table, n_tokens - T, T).ids),
        sequences(bench, std::vector<int32_t>(size_t(T))),
        pages(bench, table.pages) {
    at = {ids.data(), sequences.data(), pages.data(), int64_t(table.pages.size()), table.bits, true, n_tokens};
  }
  LatentCache cache(uint16_t* rows) const {
    return {reinterpret_cast<std::byte*>(rows), FormatId::bf16, table.n_rows(), kLora, kRope};
  }

  test::PageTable table;
  Buffer<int32_t> ids, sequences, pages;
  Positions at;
};

void measure_mla_attend(const Bench& bench, int64_t H, int64_t n_tokens) {
  const int64_t width = kLora + kRope;
  const DeviceStanding standing(bench, n_tokens, 1);
  const size_t rows = size_t(standing.table.n_rows()) * size_t(width), read = size_t(n_tokens) * size_t(width);
  const int copies = copies_of(rows * 2);
  Buffer<uint16_t> memory(bench, rows * size_t(copies));
  memory.fill(random_latents());
  const Buffer<float> q(bench, gaussian(size_t(H * width), 1)), o(bench, size_t(H * kLora));
  const double seconds = seconds_per_call(bench, copies, [&](int i) {
    const LatentCache cache = standing.cache(memory.data() + rows * size_t(i));
    const Heads<const float> q_c{q.data(), 1, H, kLora, H * kLora, kLora};
    const Heads<const float> q_rope{q.data() + H * kLora, 1, H, kRope, H * kRope, kRope};
    bench.ops.mla_attend(bench.exec, q_c, q_rope, cache, standing.at, 0.1f, {o.data(), 1, H, kLora, H * kLora, kLora});
  });
  const double bandwidth = double(read) * 2 / seconds;
  row("MLA decode, " + std::to_string(H) + " heads, " + std::to_string(n_tokens) + " tokens", bandwidth / 1e9,
      "GB/s | %.0f %% of copy; %.1f us", 100 * bandwidth / bench.copy_bandwidth, seconds * 1e6);
}

void measure_mha_attend(const Bench& bench, int64_t H, int64_t n_tokens) {
  const int64_t T = shrunk(512, 20), width = kLora + kRope, head = kNope + kRope;
  const DeviceStanding standing(bench, n_tokens, T);
  Buffer<uint16_t> memory(bench, size_t(standing.table.n_rows() * width));
  memory.fill(random_latents());
  const BenchWeight k_b(bench, FormatId::q8_0, H, kLora, kNope), v_b(bench, FormatId::q8_0, H, kValue, kLora);
  const Buffer<float> q(bench, gaussian(size_t(T * H * head), 1)), o(bench, size_t(T * H * kValue));
  const LatentCache cache = standing.cache(memory.data());
  const Heads<const float> q_nope{q.data(), T, H, kNope, H * head, head},
      q_rope{q.data() + kNope, T, H, kRope, H * head, head};
  const double seconds = seconds_per_call(bench, 4, [&](int) {
    bench.ops.mha_attend(bench.exec, q_nope, q_rope, k_b.view, v_b.view, cache, standing.at, 0.1f,
                         {o.data(), T, H, kValue, H * kValue, kValue});
  });
  const double pairs = double(T) * (double(n_tokens) - double(T - 1) / 2);
  const double flops =
      2 * double(H) * (pairs * double(head + kValue) + double(n_tokens * kLora) * double(kNope + kValue));
  row("MLA prefill, " + std::to_string(H) + " heads, " + std::to_string(n_tokens) + " tokens", flops / seconds / 1e12,
      "TFLOP/s | the last %lld; expansion of the cache included", (long long)T);
}

// ---- What is bound by latency in a decode step

void measure_small(const Bench& bench) {
  const int64_t d = shrunk(2048, 256), E = shrunk(64, 8);
  const BenchWeight gate(bench, FormatId::f32, 1, E, d);
  const Buffer<float> x(bench, gaussian(size_t(d), 1)), w(bench, std::vector<float>(size_t(d), 1)), y(bench, size_t(d)),
      weights(bench, 8);
  const Buffer<int32_t> ids(bench, 8);
  const double norm = seconds_per_call(bench, 64, [&](int) {
    bench.ops.rms_norm(bench.exec, {x.data(), 1, d}, w.data(), 1e-6f, {y.data(), 1, d});
  });
  row("rms_norm of a token", norm * 1e6, "us | %lld", (long long)d);
  Routing rule;
  rule.n_experts = int(E);
  rule.n_activated = 6;
  const double route = seconds_per_call(bench, 64, [&](int) {
    bench.ops.route(bench.exec, rule, gate.view, nullptr, {x.data(), 1, d}, ids.data(), weights.data());
  });
  row("route of a token", route * 1e6, "us | %lld experts", (long long)E);
}

// What a recorded operation costs however little it does, and what it takes of the GPU's memory.
void measure_nodes(const Bench& bench) {
  const int n = tiny ? 20 : 2000;
  const Buffer<float> x(bench, gaussian(32, 1)), y(bench, gaussian(32, 1));
  const auto add = [&](int) { bench.ops.add(bench.exec, {x.data(), 1, 32}, {y.data(), 1, 32}); };
  row("a recorded operation", seconds_per_call(bench, n, add) * 1e6, "us | the mean of %d that add 32 numbers", n);

  size_t before = 0, after = 0, total = 0;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  check(cudaMemGetInfo(&before, &total), "free memory");
  check(cudaStreamBeginCapture(bench.stream(), cudaStreamCaptureModeRelaxed), "recording");
  for (int i = 0; i < n; ++i) add(i);
  check(cudaStreamEndCapture(bench.stream(), &graph), "recording");
  check(cudaGraphInstantiate(&replay, graph, 0), "recording");
  check(cudaGraphLaunch(replay, bench.stream()), "a replay");
  bench.finish("a replay");
  check(cudaMemGetInfo(&after, &total), "free memory");
  check(cudaGraphExecDestroy(replay), "recording");
  check(cudaGraphDestroy(graph), "recording");
  row("memory of a recorded operation", (double(before) - double(after)) / n, "bytes | of %d", n);
}

// A turn of the host's in a decoded token: some kilobytes cross, while experts may be on their way.
void measure_small_copies(const Bench& bench) {
  const size_t bytes = 8192, expert = size_t(shrunk(int64_t(64) << 20, 1 << 20));
  const Buffer<std::byte> here(bench, bytes), slot(bench, expert);
  Device& device = bench.device;
  std::byte* const there = device.shared_buffer(bytes);
  std::byte* const weights = device.shared_buffer(expert);
  if (!there || !weights) give_up("memory", "page-locked memory is not to be had");
  const auto crossing = [&](bool one_operation) {
    if (one_operation) {
      const Device::SmallMove move[] = {{here.data(), there, bytes}};
      device.move_small(move);
    } else {
      device.move(here.data(), there, bytes);
    }
    bench.finish("a small copy");
  };
  struct Beside {
    const char* what;
    bool copies, small_pieces;
  };
  for (const Beside& beside : {Beside{"alone", false, false}, Beside{"beside an expert's copies", true, false},
                               Beside{"beside those in small pieces", true, true}}) {
    for (const bool one_operation : {false, true}) {
      device.fetch_in_small_pieces(beside.small_pieces);
      std::vector<double> seconds;
      for (int i = 0; i < (tiny ? 3 : 51); ++i) {
        int64_t last = 0;
        for (int j = 0; beside.copies && j < 4; ++j) last = device.fetch(weights, slot.data(), expert);
        const auto start = std::chrono::steady_clock::now();
        crossing(one_operation);
        seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        while (beside.copies && !device.fetched(last)) std::this_thread::yield();
      }
      std::sort(seconds.begin(), seconds.end());
      row(std::string("8 KB to the host by ") + (one_operation ? "a kernel, " : "a copy, ") + beside.what,
          seconds[seconds.size() / 2] * 1e6, "us | median; the longest %.1f us", seconds.back() * 1e6);
    }
  }
  device.fetch_in_small_pieces(false);
  device.release_shared(weights, expert);
  device.release_shared(there, bytes);
}

int run() {
  const Gpu& gpu = open_gpu();
  if (!gpu.ops) {
    std::fprintf(stderr, "cuda_bench: %s\n", gpu.why_not.c_str());
    return 77;
  }
  Bench bench{*gpu.ops, *gpu.device, {}};
  ScratchLimits limits;
  limits.max_tokens = shrunk(2048, 32);
  limits.max_width = shrunk(10944, 512);
  limits.n_heads = shrunk(128, 16);
  limits.kv_lora_rank = kLora;
  limits.qk_nope_head_dim = kNope;
  limits.qk_rope_head_dim = kRope;
  limits.v_head_dim = kValue;
  limits.dim = shrunk(2048, 256);
  limits.inter_dim = shrunk(10944, 512);
  limits.moe_inter_dim = shrunk(1408, 64);
  limits.shared_inter_dim = 2 * limits.moe_inter_dim;
  limits.n_experts = shrunk(64, 8);
  limits.n_activated = shrunk(6, 6);
  limits.n_ctx = shrunk(131072, 256);
  const size_t scratch_bytes = bench.ops.scratch_bytes(limits);
  bench.exec.queue = bench.device.queue();
  const Buffer<std::byte> scratch(bench, scratch_bytes);
  bench.exec.scratch = {scratch.data(), scratch_bytes};

  measure_copies(bench);
  for (const Format& format : all_formats()) measure_decode_matmul(bench, format.id);
  measure_experts(bench, 1);
  measure_small(bench);
  measure_nodes(bench);
  measure_small_copies(bench);
  for (int64_t T = 1; T <= kMostColumns; T = T == 8 ? 9 : T == 9 ? 16 : 2 * T) {
    if (tiny && T > 16) break;
    measure_columns(bench, T);
    if (T > 1) measure_experts(bench, T);
  }
  for (const int64_t H : {16, 128}) {
    if (tiny && H > 16) continue;
    for (const int64_t n : {1024, 8192, 32768, 131072}) {
      if (!tiny || n == 1024) measure_mla_attend(bench, H, shrunk(n, 100));
    }
  }
  for (const Format& format : all_formats()) measure_prefill_matmul(bench, format.id);
  measure_experts(bench, shrunk(2048, 20));
  for (const int64_t H : {16, 128}) {
    if (tiny && H > 16) continue;
    for (const int64_t n : {1024, 8192, 32768}) {
      if (!tiny || n == 1024) measure_mha_attend(bench, H, shrunk(n, 100));
    }
  }
  return 0;
}

}  // namespace
}  // namespace hearth

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && std::string(argv[1]) != "--tiny")) {
    std::fprintf(stderr, "usage: cuda_bench [--tiny]\n");
    return 2;
  }
  hearth::tiny = argc == 2;
  return hearth::run();
}
