// Speed of the CPU operations, with the shapes of V2-Lite, V2 and V3.   ops_bench [isa] [threads] [text]
//
//   ops_bench layer DIM INTER EXPERTS USED FORMAT TOKENS [isa] [threads]
//
// is one layer of experts of a shape of your own, as one line of JSON (tests/bench/versus_kt.py reads it).
//
// Without a text: usual formats, in about three minutes. With one, of all formats and shapes those lines that contain
// it: "moe_ffn V3 IQ2_XS", "T=512", "absorbed".
//
// Weights are read cold (each matrix is larger than the caches, or one of many in turn). Each line says which share it
// is of what the same number of threads reads, and of what they multiply and add with the unit that the kernel uses, in
// loops that do nothing else, measured beside it. Times are the best of several, since other work on the machine only
// adds.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/backend.h"
#include "quant/error.h"
#include "runtime/model/buffer.h"
#include "tests/bench/cold_weight.h"
#include "tests/bench/unit_of.h"
#include "tests/bench/yardsticks.h"
#include "tests/kernels/pages.h"

using namespace hearth;
using namespace hearth::bench;

namespace {

struct LayerShape {
  const char* name;
  int64_t dim, moe_inter_dim, n_experts, n_activated;
};
constexpr LayerShape kShapes[] = {
    {"V2-Lite", 2048, 1408, 64, 6}, {"V2", 5120, 1536, 160, 6}, {"V3", 7168, 2048, 256, 8}};
constexpr int64_t kTokens[] = {1, 2, 4, 8, 16, 64, 512, 2048};
constexpr size_t kMostBytes = size_t(1) << 30;  // of experts in memory
constexpr FormatId kUsual[] = {FormatId::f32,  FormatId::bf16, FormatId::f16,     FormatId::q8_0,   FormatId::q4_k,
                               FormatId::q6_k, FormatId::q5_0, FormatId::f8_e4m3, FormatId::i4_g128};

// The best time of one call, over about a third of a second and at least three calls, two of long ones.
double seconds(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9, total = 0;
  for (int i = 0; i < (total < 1 ? 3 : 2) || (total < 0.3 && i < 1000); ++i) {
    const auto start = Clock::now();
    call();
    const double s = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, s);
    total += s;
  }
  return best;
}

// The experts of a layer; where all of them would be too much memory, several use the same matrix, which is cold again
// by then.
struct Experts {
  int64_t n_in_memory;
  ColdWeight gate, up, down;
  std::vector<int32_t> slots;

  Experts(const LayerShape& s, FormatId in, FormatId out)
      : n_in_memory(std::min(s.n_experts, int64_t(kMostBytes / bytes_of(s, in, out)))),
        gate(in, n_in_memory, s.moe_inter_dim, s.dim),
        up(in, n_in_memory, s.moe_inter_dim, s.dim),
        down(out, n_in_memory, s.dim, s.moe_inter_dim) {
    for (int64_t e = 0; n_in_memory < s.n_experts && e < s.n_experts; ++e) slots.push_back(int32_t(e % n_in_memory));
  }
  FfnWeights view() const {
    return {gate.view, up.view, down.view, slots.empty() ? nullptr : slots.data(), int64_t(slots.size())};
  }
  static size_t bytes_of(const LayerShape& s, FormatId in, FormatId out) {
    return 2 * format_of(in).bytes(s.dim) * size_t(s.moe_inter_dim) +
           format_of(out).bytes(s.moe_inter_dim) * size_t(s.dim);
  }
};

// Rows of the down matrices that are no multiple of the format's block are in Q5_0.
FormatId down_format(const LayerShape& s, FormatId in) {
  return s.moe_inter_dim % format_of(in).block_elems == 0 ? in : FormatId::q5_0;
}

class Bench {
 public:
  Bench(const Ops& ops, int n_threads, std::string text, const LayerShape& largest, int64_t max_tokens)
      : ops_(ops), text_(std::move(text)), yardsticks_(n_threads) {
    ScratchLimits l;
    l.max_tokens = max_tokens;
    l.dim = largest.dim;
    l.max_width = std::max(largest.dim, largest.moe_inter_dim);
    l.n_heads = 128;
    l.kv_lora_rank = 512;
    l.qk_nope_head_dim = l.v_head_dim = 128;
    l.qk_rope_head_dim = 64;
    l.inter_dim = l.moe_inter_dim = l.shared_inter_dim = largest.moe_inter_dim;
    l.n_experts = largest.n_experts;
    l.n_activated = largest.n_activated;
    l.n_ctx = 8192;
    l.n_threads = n_threads;
    l.alike = true;
    memory_ = Buffer(host_device(), ops.scratch_bytes(l), "scratch");
    exec_ = {n_threads, {memory_.data(), memory_.bytes()}, nullptr};
  }

  Yardsticks& yardsticks() { return yardsticks_; }

  // Without a text only what is usual.
  bool wanted(const std::string& name, bool usual) const {
    return text_.empty() ? usual : name.find(text_) != std::string::npos;
  }

  void matmuls(const LayerShape& s, FormatId id) {
    const int64_t n = s.moe_inter_dim, k = s.dim;
    const Format& format = format_of(id);
    if (k % format.block_elems != 0) return;
    const bool sweep = id == FormatId::q4_k, lite = &s == kShapes;
    std::optional<ColdWeight> w;
    for (const int64_t T : kTokens) {
      const std::string name = fmt::format("matmul {} {} {}x{} T={}", s.name, format.name, n, k, T);
      if (!wanted(name, sweep || (lite && (T == 1 || T == 64) && std::ranges::count(kUsual, id)))) continue;
      const int64_t count = std::max<int64_t>(1, (int64_t(192) << 20) / int64_t(format.bytes(k) * size_t(n)));
      if (!w) w.emplace(id, count, n, k);
      const std::vector<float> x = random_floats(size_t(T * k));
      std::vector<float> y(size_t(T * n));
      int64_t turn = 0;
      const double time = seconds([&] {
        Weight one = w->view;
        one.data = w->view.row(turn++ % count, 0);
        ops_.matmul(exec_, one, {x.data(), T, k}, {y.data(), T, n});
      });
      print(name, time, double(w->view.matrix_stride), double(n * k * T), unit_of_product(ops_.name, id, double(T)));
    }
  }

  // One line of JSON.
  void layer(const LayerShape& s, FormatId in, int64_t T) {
    const FormatId out = down_format(s, in);
    const Experts experts(s, in, out);
    const double time = time_of(s, experts, T, false).seconds;
    fmt::print(R"({{"isa": "{}", "threads": {}, "gate": "{}", "down": "{}", "tokens": {}, "seconds": {:.4g}, )"
               R"("read_gb_s": {:.1f}}})"
               "\n",
               ops_.name, exec_.n_threads, format_of(in).name, format_of(out).name, T, time, yardsticks_.read() * 1e-9);
  }

  void moe(const LayerShape& s, FormatId in) {
    if (s.dim % format_of(in).block_elems != 0) return;
    const FormatId out = down_format(s, in);
    const bool lite = &s == kShapes, usual = in == FormatId::q4_k || (lite && in == FormatId::q8_0);
    std::optional<Experts> experts;
    for (const int64_t T : kTokens) {
      for (const bool alike : {false, true}) {
        const std::string name = fmt::format("moe_ffn {} {}/{} T={}{}", s.name, format_of(in).name, format_of(out).name,
                                             T, alike ? " alike" : "");
        const bool some = T == 1 || T == 4 || T == 64 || T == 512;
        if (!wanted(name, usual && (!alike || (lite && some)))) continue;
        if (!experts) experts.emplace(s, in, out);
        const double tokens = double(T * s.n_activated) / double(s.n_experts);  // of an expert
        const auto [time, used] = time_of(s, *experts, T, alike);
        print(name, time, used * double(Experts::bytes_of(s, in, out)),
              3.0 * double(s.moe_inter_dim * s.dim * T * s.n_activated), unit_of_product(ops_.name, in, tokens, alike),
              experts->slots.empty() ? 0 : experts->n_in_memory);
      }
    }
  }

  // `absorbed`: with q W^UK and W^UV o, as a layer has it; else naive.
  void attend(bool absorbed, int64_t H, int64_t T, int64_t pos0, bool usual) {
    const std::string name = fmt::format("{} H={} T={} at {}", absorbed ? "absorbed" : "naive", H, T, pos0);
    if (!wanted(name, usual)) return;
    const int64_t r = 512, dr = 64, nope = 128, v = 128;
    const test::PageTable table(pos0 + T);
    const test::Standing standing(table, pos0, T);
    LatentCache cache{nullptr, FormatId::bf16, table.n_rows(), r, dr};
    std::vector<std::byte> rows(cache.row_bytes() * size_t(cache.n_rows));
    const std::vector<float> values = random_floats(rows.size() / 2);
    format_of(FormatId::bf16).encode(values.data(), nullptr, rows.data(), int64_t(values.size()));
    cache.data = rows.data();
    const ColdWeight k_b(FormatId::q8_0, H, r, nope), v_b(FormatId::q8_0, H, v, r);
    std::vector<float> q = random_floats(size_t(T * H * (nope + dr))), o(size_t(T * H * v));
    std::vector<float> between(size_t(2 * T * H * r));
    const Heads<const float> q0 = {q.data(), T, H, nope, H * (nope + dr), nope + dr};
    const Heads<const float> q1 = {q.data() + nope, T, H, dr, H * (nope + dr), nope + dr};
    const Heads<float> q_c = {between.data(), T, H, r, H * r, r}, o_c = {between.data() + T * H * r, T, H, r, H * r, r};
    const Heads<float> out = {o.data(), T, H, v, H * v, v};
    const double time = seconds([&] {
      if (absorbed) {
        ops_.absorbed_attend(exec_, q0, q1, k_b.view, v_b.view, cache, standing.at, 0.1f, q_c, o_c, out);
      } else {
        ops_.mha_attend(exec_, q0, q1, k_b.view, v_b.view, cache, standing.at, 0.1f, out);
      }
    });
    const double pairs = double(H) * (double(T * pos0) + 0.5 * double(T * (T + 1)));
    const double expand = double(H * (absorbed ? T : pos0 + T)) * double(r * (nope + v));
    print(name, time, double(cache.row_bytes() * size_t(pos0 + T)),
          pairs * double(absorbed ? r + dr + r : nope + dr + v) + expand, unit_of_attention(ops_.name, absorbed));
  }

 private:
  struct Timed {
    double seconds, used;  // experts of the last call
  };
  Timed time_of(const LayerShape& s, const Experts& experts, int64_t T, bool alike) {
    Exec how = exec_;
    how.alike = alike;
    const int64_t d = s.dim, K = s.n_activated, E = s.n_experts;
    const std::vector<float> x = random_floats(size_t(T * d)), weights(size_t(T * K), 0.2f);
    std::vector<float> y(size_t(T * d));
    std::mt19937 rng(3);
    std::vector<int32_t> ids(size_t(T * K)), all(static_cast<size_t>(E));
    for (int64_t e = 0; e < E; ++e) all[size_t(e)] = int32_t(e);
    double used = 0;
    const double time = seconds([&] {
      std::vector<bool> seen(static_cast<size_t>(E));
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t k = 0; k < K; ++k) {  // the first K of a shuffle
          std::swap(all[size_t(k)], all[size_t(k) + rng() % size_t(E - k)]);
          ids[size_t(t * K + k)] = all[size_t(k)];
          seen[size_t(all[size_t(k)])] = true;
        }
      }
      used = double(std::count(seen.begin(), seen.end(), true));
      ops_.moe_ffn(how, experts.view(), {}, ids.data(), weights.data(), K, {x.data(), T, d}, {y.data(), T, d});
    });
    return {time, used};
  }

  // n_in_memory: of the experts, 0: all.
  void print(const std::string& name, double s, double bytes, double multiply_adds, Unit unit,
             int64_t n_in_memory = 0) {
    const double peak = yardsticks_.multiply_adds(unit);
    const std::string share =
        peak > 0 ? fmt::format("{:3.0f} % of {:.0f} ({})", 100 * multiply_adds / s / peak, peak * 1e-9, unit_name(unit))
                 : "";
    fmt::print("{:<40} {:9.3f} ms {:7.2f} GB/s {:4.0f} % {:9.1f} GMAC/s {}{}\n", name, s * 1e3, bytes / s * 1e-9,
               100 * bytes / s / yardsticks_.read(), multiply_adds / s * 1e-9, share,
               n_in_memory ? fmt::format("; {} experts in memory", n_in_memory) : "");
    std::fflush(stdout);
  }

  const Ops& ops_;
  std::string text_;
  Yardsticks yardsticks_;
  Buffer memory_;
  Exec exec_;
};

int64_t count_of(const char* name, const char* text, int64_t most) {
  char* end = nullptr;
  const long long n = std::strtoll(text, &end, 10);
  require(end != text && *end == 0 && n >= 1 && n <= most, ErrorKind::usage, "{}: expected 1 to {}, found {}", name,
          most, text);
  return n;
}

const Ops& ops_of(int argc, char** argv, int at) {
  return cpu_ops(argc > at ? argv[at] : "auto");
}

int threads_of(int argc, char** argv, int at) {
  return argc > at ? int(count_of("threads", argv[at], 1024)) : default_threads();
}

// argv[2..]: DIM INTER EXPERTS USED FORMAT TOKENS [isa] [threads].
void run_layer(int argc, char** argv) {
  require(argc >= 8, ErrorKind::usage,
          "layer: expected DIM INTER EXPERTS USED FORMAT TOKENS [isa] [threads], found {} of them", argc - 2);
  LayerShape s{"", count_of("DIM", argv[2], 1 << 16), count_of("INTER", argv[3], 1 << 16),
               count_of("EXPERTS", argv[4], 1024), 0};
  s.n_activated = count_of("USED", argv[5], s.n_experts);
  const Format* const format = find_format(std::string_view(argv[6]));
  require(format != nullptr, ErrorKind::usage, "FORMAT: no format is called {}", argv[6]);
  const int64_t down_block = format_of(down_format(s, format->id)).block_elems;
  require(s.dim % format->block_elems == 0 && s.moe_inter_dim % down_block == 0, ErrorKind::usage,
          "{}: expected multiples of {} and {} for DIM and INTER, found {} and {}", format->name, format->block_elems,
          down_block, s.dim, s.moe_inter_dim);
  const int64_t tokens = count_of("TOKENS", argv[7], 1 << 16);
  Bench(ops_of(argc, argv, 8), threads_of(argc, argv, 9), "", s, tokens).layer(s, format->id, tokens);
}

void run_table(int argc, char** argv) {
  const Ops& ops = ops_of(argc, argv, 1);
  const int n_threads = threads_of(argc, argv, 2);
  fmt::print("{}; running {} with {} threads\n", cpu_description(), ops.name, n_threads);
  Bench bench(ops, n_threads, argc > 3 ? argv[3] : "", kShapes[std::size(kShapes) - 1],
              kTokens[std::size(kTokens) - 1]);
  Yardsticks& yardsticks = bench.yardsticks();
  fmt::print("read {:.1f} GB/s; GMAC/s in registers:", yardsticks.read() * 1e-9);
  for (int i = 0; i < kUnits; ++i) {
    if (const double peak = yardsticks.multiply_adds(Unit(i)); peak > 0)
      fmt::print(" {} {:.0f}{}", unit_name(Unit(i)), peak * 1e-9, i + 1 < kUnits ? "," : "\n");
  }
  for (const LayerShape& shape : kShapes) {
    for (const Format& format : all_formats()) bench.matmuls(shape, format.id);
  }
  for (const LayerShape& shape : kShapes) {
    for (const Format& format : all_formats()) bench.moe(shape, format.id);
  }
  for (const int64_t H : {16, 128}) {
    for (const int64_t pos0 : {127, 511, 4095, 16383}) bench.attend(true, H, 1, pos0, true);
    for (const int64_t T : {4, 16, 32, 48, 64, 96, 128, 192, 256}) {
      for (const int64_t context : {512, 2048}) {
        for (const bool absorbed : {true, false}) bench.attend(absorbed, H, T, context - T, T == 16 || T == 64);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) try {
  argc > 1 && std::string_view(argv[1]) == "layer" ? run_layer(argc, argv) : run_table(argc, argv);
} catch (const Error& error) {
  fmt::print(stderr, "ops_bench: {}\n", error.what());
  return 2;
}
