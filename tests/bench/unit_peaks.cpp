// Each loop is twelve independent sums (six of byte pairs, four of tiles), written in assembly so that no compiler can
// spill them: no fewer than the latency times the instructions that begin in one cycle. Operands are ordinary numbers,
// since a processor may take less power, and run faster, with zeros.
#include "tests/bench/unit_peaks.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>

#include "kernels/cpu/backend.h"
#include "kernels/cpu/parallel.h"
#include "quant/fp.h"
#endif

namespace hearth::bench {

#if defined(__x86_64__)
namespace {

// Sums (and the products of byte pairs) in registers 0 to 11, operands in 12 and 13.
#define HEARTH_TWELVE(X) X("0") X("1") X("2") X("3") X("4") X("5") X("6") X("7") X("8") X("9") X("10") X("11")
#define HEARTH_LOAD(V) "vmovups (%[a]), %%" V "12\n vmovups (%[b]), %%" V "13\n"
#define HEARTH_CLEAR(I) "vxorps %%xmm" I ", %%xmm" I ", %%xmm" I "\n"
#define HEARTH_LOOP(NAME, V, STEPS)                                                                                \
  void NAME(int64_t n, const void* a, const void* b) {                                                             \
    asm volatile(HEARTH_LOAD(V) HEARTH_TWELVE(HEARTH_CLEAR) "1:\n" STEPS "dec %[n]\n jnz 1b\n vzeroupper\n"        \
                 : [n] "+r"(n)                                                                                     \
                 : [a] "r"(a), [b] "r"(b)                                                                          \
                 : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                   "xmm10", "xmm11", "xmm12", "xmm13");                                                            \
  }

#define HEARTH_VNNI(I) "vpdpbusd %%zmm13, %%zmm12, %%zmm" I "\n"
#define HEARTH_WORDS(I) "vpdpwssd %%zmm13, %%zmm12, %%zmm" I "\n"
#define HEARTH_BF16(I) "vdpbf16ps %%zmm13, %%zmm12, %%zmm" I "\n"
#define HEARTH_F32_512(I) "vfmadd231ps %%zmm13, %%zmm12, %%zmm" I "\n"
#define HEARTH_F32_256(I) "vfmadd231ps %%ymm13, %%ymm12, %%ymm" I "\n"
HEARTH_LOOP(vnni_loop, "zmm", HEARTH_TWELVE(HEARTH_VNNI))
HEARTH_LOOP(words_loop, "zmm", HEARTH_TWELVE(HEARTH_WORDS))
HEARTH_LOOP(bf16_loop, "zmm", HEARTH_TWELVE(HEARTH_BF16))
HEARTH_LOOP(f32_512_loop, "zmm", HEARTH_TWELVE(HEARTH_F32_512))
HEARTH_LOOP(f32_256_loop, "ymm", HEARTH_TWELVE(HEARTH_F32_256))

// Six products, then their sums: taking turns one by one was a tenth to a fifth slower on a Zen 4.
#define HEARTH_SIX(X, V) X(V, "6", "0") X(V, "7", "1") X(V, "8", "2") X(V, "9", "3") X(V, "10", "4") X(V, "11", "5")
#define HEARTH_PRODUCT(V, P, S) "vpmaddubsw %%" V "13, %%" V "12, %%" V P "\n"
#define HEARTH_SUM(V, P, S) "vpaddw %%" V P ", %%" V S ", %%" V S "\n"
#define HEARTH_BYTE_PAIRS(V) HEARTH_SIX(HEARTH_PRODUCT, V) HEARTH_SIX(HEARTH_SUM, V)
HEARTH_LOOP(bytes_512_loop, "zmm", HEARTH_BYTE_PAIRS("zmm"))
HEARTH_LOOP(bytes_256_loop, "ymm", HEARTH_BYTE_PAIRS("ymm"))

// Four tiles of sums of 16 rows of 64 bytes, two and two of operands. (Tile registers are nobody else's, and the
// compiler knows no names for them.)
#define HEARTH_TILE_LOOP(NAME, PRODUCT)                                                        \
  void NAME(int64_t n, const void* a, const void* b) {                                         \
    struct alignas(64) {                                                                       \
      uint8_t palette = 1, start_row = 0, reserved[14] = {};                                   \
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};                               \
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};                                     \
    } const shape;                                                                             \
    static_assert(sizeof shape == 64);                                                         \
    const int64_t no_stride = 0;                                                               \
    asm volatile(                                                                              \
        "ldtilecfg %[shape]\n"                                                                 \
        "tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n tilezero %%tmm3\n"              \
        "tileloadd (%[a], %[stride]), %%tmm4\n tileloadd (%[a], %[stride]), %%tmm5\n"          \
        "tileloadd (%[b], %[stride]), %%tmm6\n tileloadd (%[b], %[stride]), %%tmm7\n"          \
        "1:\n" PRODUCT " %%tmm6, %%tmm4, %%tmm0\n" PRODUCT " %%tmm7, %%tmm4, %%tmm1\n" PRODUCT \
        " %%tmm6, %%tmm5, %%tmm2\n" PRODUCT                                                    \
        " %%tmm7, %%tmm5, %%tmm3\n"                                                            \
        "dec %[n]\n jnz 1b\n"                                                                  \
        "tilerelease\n"                                                                        \
        : [n] "+r"(n)                                                                          \
        : [shape] "m"(shape), [a] "r"(a), [b] "r"(b), [stride] "r"(no_stride)                  \
        : "cc", "memory");                                                                     \
  }

HEARTH_TILE_LOOP(int8_tile_loop, "tdpbssd")
HEARTH_TILE_LOOP(bf16_tile_loop, "tdpbf16ps")

// Bits of cpuid's leaf 7: EDX of subleaf 0, EAX of subleaf 1.
bool has_bit(unsigned subleaf, unsigned bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, subleaf, &a, &b, &c, &d) && ((subleaf == 0 ? d : a) >> bit & 1);
}
// Asking for the table is asking the system for the tiles.
bool has_tiles() {
  for (const CpuIsa& isa : cpu_isas())
    if (isa.name == std::string_view("amx")) return isa.available;
  return false;
}
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

enum class Operands { bytes, bf16, f32 };

struct Loop {
  std::string_view name;
  void (*run)(int64_t n, const void* a, const void* b);
  double per_turn;  // multiply-adds
  Operands operands;
  bool (*is_there)();
};

// By Unit.
constexpr Loop kLoops[kUnits] = {
    {"int8 tiles", int8_tile_loop, 4 * 16 * 16 * 64, Operands::bytes, [] { return has_tiles() && has_bit(0, 25); }},
    {"bf16 tiles", bf16_tile_loop, 4 * 16 * 16 * 32, Operands::bf16, [] { return has_tiles(); }},
    {"VNNI", vnni_loop, 12 * 64, Operands::bytes,
     [] { return has_avx512() && bool(__builtin_cpu_supports("avx512vnni")); }},
    {"byte pairs 512", bytes_512_loop, 6 * 64, Operands::bytes, has_avx512},
    {"byte pairs 256", bytes_256_loop, 6 * 32, Operands::bytes, has_avx2},
    {"word pairs", words_loop, 12 * 32, Operands::bytes,
     [] { return has_avx512() && bool(__builtin_cpu_supports("avx512vnni")); }},
    {"bf16 pairs", bf16_loop, 12 * 32, Operands::bf16, [] { return has_avx512() && has_bit(1, 5); }},
    {"f32 512", f32_512_loop, 12 * 16, Operands::f32, has_avx512},
    {"f32 256", f32_256_loop, 12 * 8, Operands::f32, has_avx2},
};

// A vector of operands: small bytes, or numbers of either sign between one and two.
struct alignas(64) Vector {
  uint8_t bytes[64];

  Vector(Operands operands, uint32_t seed) {
    float f32[16];
    uint16_t bf16[32];
    for (uint32_t i = 0; i < 64; ++i) {
      seed = seed * 1664525 + 1013904223;
      const float value = (seed >> 31 ? -1.0f : 1.0f) * (1 + float(seed >> 9 & 0xff) / 256);
      bytes[i] = uint8_t(seed >> 26);
      f32[i % 16] = value;
      bf16[i % 32] = float_to_bf16(value);
    }
    if (operands == Operands::f32) std::memcpy(bytes, f32, sizeof bytes);
    if (operands == Operands::bf16) std::memcpy(bytes, bf16, sizeof bytes);
  }
};

// One thread's multiply-adds per second: the best of pieces of a fraction of a millisecond, which other work on the
// machine may leave alone.
double best_rate(const Loop& loop, const Vector& a, const Vector& b) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kTurns = 50'000;
  double best = 1e9, total = 0;
  while (total < 0.02) {
    const auto start = Clock::now();
    loop.run(kTurns, a.bytes, b.bytes);
    const double s = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, s);
    total += s;
  }
  return double(kTurns) * loop.per_turn / best;
}

}  // namespace

std::string_view unit_name(Unit unit) {
  return kLoops[int(unit)].name;
}

double unit_peak(Unit unit, int n_threads) {
  const Loop& loop = kLoops[int(unit)];
  if (!loop.is_there()) return 0;
  const Vector a(loop.operands, 1), b(loop.operands, 2);
  std::vector<double> rates(static_cast<size_t>(n_threads));
  parallel_for(n_threads, n_threads, 1, [&](int64_t i, int64_t, int) { rates[size_t(i)] = best_rate(loop, a, b); });
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

#else

std::string_view unit_name(Unit) {
  return "";
}
double unit_peak(Unit, int) {
  return 0;
}
#endif

}  // namespace hearth::bench
