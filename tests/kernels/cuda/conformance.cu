// Does each wrapper of kernels/cuda/kernel.h compute what tests/emulation/instructions.h says it does?
//
// Everything that the emulated build shows about kernels rests on that, and it is the one thing that only a GPU can
// tell: a swapped operand in a line of PTX assembles. Random bits go through the instruction and through the plain
// function. Results must be the same bits (any NaN for a NaN where a float comes out), but for the tensor core's sum
// and the fast exponential, which have tolerances. Compiled for the emulation too, where both are the same functions:
// that keeps this file compiling, and checks its own bookkeeping.
//
// Needs the toolkit alone, no library, so that it can be built on any machine with a GPU. Exits with 0 if all agree, 1
// if one differs, 77 without a GPU.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/kernel.h"
#include "tests/emulation/instructions.h"

namespace hearth::gpu {

namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "conformance: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

constexpr int kBlocks = 64, kThreads = 128, kWarps = kBlocks * kThreads / 32;
constexpr int kCases = kBlocks * kThreads;

int n_checked = 0, n_failed = 0;

// ---- Running a kernel on vectors

template <class T>
T* upload(const std::vector<T>& values) {
  T* p = nullptr;
  check(cudaMalloc(reinterpret_cast<void**>(&p), values.size() * sizeof(T)), "cudaMalloc");
  check(cudaMemcpy(p, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "upload");
  return p;
}

// What kernel(in, out) writes to out.
template <class Out, class In>
std::vector<Out> run(const char* name, void (*kernel)(const In*, Out*), const std::vector<In>& in, size_t n_out) {
  std::vector<Out> out(n_out);
  std::memset(static_cast<void*>(out.data()), 0xff, n_out * sizeof(Out));
  In* device_in = upload(in);
  Out* device_out = upload(out);
  launch(name, kernel, dim3(kBlocks), dim3(kThreads), 0, Queue{}, device_in, device_out);
  check(cudaGetLastError(), name);
  check(cudaStreamSynchronize(nullptr), name);
  check(cudaMemcpy(out.data(), device_out, n_out * sizeof(Out), cudaMemcpyDeviceToHost), "download");
  check(cudaFree(device_in), "cudaFree");
  check(cudaFree(device_out), "cudaFree");
  return out;
}

// ---- Comparing

using Same = bool (*)(uint32_t found, uint32_t expected);

bool same_bits(uint32_t found, uint32_t expected) {
  return found == expected;
}
bool same_bf16_pair(uint32_t found, uint32_t expected) {
  for (int i = 0; i < 32; i += 16) {
    const uint32_t a = found >> i & 0xffff, b = expected >> i & 0xffff;
    if (a != b && ((a & 0x7fff) <= 0x7f80 || (b & 0x7fff) <= 0x7f80)) return false;  // not both NaN
  }
  return true;
}
bool same_float(uint32_t found, uint32_t expected) {
  const float a = float_from_bits(found), b = float_from_bits(expected);
  return found == expected || (a != a && b != b);
}
// 4 units of the last place: the manual's 2 of ex2, and what this side's reference is rounded by; and a result that is
// flushed to zero on one side only, at float's smallest.
bool close_float(uint32_t found, uint32_t expected) {
  const float a = float_from_bits(found), b = float_from_bits(expected);
  return same_float(found, expected) || std::fabs(a - b) <= 0x1p-21f * std::fabs(b) ||
         (std::fabs(a) <= 0x1p-125f && std::fabs(b) <= 0x1p-125f);
}

void compare(const char* name, const std::vector<uint32_t>& found, const std::vector<uint32_t>& expected, Same same) {
  ++n_checked;
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (same(found[i], expected[i])) continue;
    if (wrong++ == 0) first = i;
  }
  if (wrong == 0) {
    std::printf("%-24s %7zu values agree\n", name, expected.size());
    return;
  }
  ++n_failed;
  std::printf("%-24s %7zu of %zu values differ; value %zu: found %08x, expected %08x\n", name, wrong, expected.size(),
              first, found[first], expected[first]);
}

// Random words, every fifth of them a number with few bits: zeros, infinities, NaN, the ends of integers.
std::vector<uint32_t> random_words(size_t n, uint32_t seed) {
  static constexpr uint32_t kSpecial[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffffffff,
                                          0x7f7fffff, 0x00800000, 0x007fffff, 0x80808080, 0x7f7f7f7f, 0x3f800000,
                                          0x00007c00, 0x0000fc00, 0x000003ff, 0x7c017bff, 0x477ff000, 0x7f7f8000};
  std::mt19937 rng(seed);
  std::vector<uint32_t> words(n);
  for (uint32_t& w : words) w = rng() % 5 ? rng() : kSpecial[rng() % (sizeof kSpecial / sizeof kSpecial[0])];
  return words;
}

// ---- Instructions of one thread: three words in, one out

struct Dp4a {
  static constexpr const char* kName = "dp4a";
  static __device__ uint32_t device(uint32_t a, uint32_t b, uint32_t c) { return uint32_t(dp4a(a, b, int(c))); }
  static uint32_t plain(uint32_t a, uint32_t b, uint32_t c) { return uint32_t(instructions::dp4a(a, b, int32_t(c))); }
};
struct BytePermute {
  static constexpr const char* kName = "byte_permute";
  static __device__ uint32_t device(uint32_t a, uint32_t b, uint32_t c) { return byte_permute(a, b, c & 0x7777); }
  static uint32_t plain(uint32_t a, uint32_t b, uint32_t c) { return instructions::byte_permute(a, b, c & 0x7777); }
};
struct FunnelShift {  // by any number, of which five bits count
  static constexpr const char* kName = "funnel_shift";
  static __device__ uint32_t device(uint32_t a, uint32_t b, uint32_t c) { return funnel_shift(a, b, c); }
  static uint32_t plain(uint32_t a, uint32_t b, uint32_t c) { return instructions::funnel_shift(a, b, c); }
};
struct SubtractBytes {
  static constexpr const char* kName = "subtract_bytes";
  static __device__ uint32_t device(uint32_t a, uint32_t b, uint32_t) { return subtract_bytes(a, b); }
  static uint32_t plain(uint32_t a, uint32_t b, uint32_t) {
    uint32_t result = 0;
    for (int i = 0; i < 32; i += 8) result |= uint32_t(uint8_t((a >> i) - (b >> i))) << i;
    return result;
  }
};
struct RoundToInt {
  static constexpr const char* kName = "round_to_int";
  static __device__ uint32_t device(uint32_t a, uint32_t, uint32_t) {
    return uint32_t(round_to_int(float_from_bits(a)));
  }
  static uint32_t plain(uint32_t a, uint32_t, uint32_t) {
    return uint32_t(instructions::round_to_int(float_from_bits(a)));
  }
};
struct RoundHalves {  // small numbers, half of them exactly between two integers
  static constexpr const char* kName = "round_to_int, halves";
  static __device__ uint32_t device(uint32_t a, uint32_t, uint32_t) {
    return uint32_t(round_to_int(float(int(a % 4001) - 2000) * 0.5f));
  }
  static uint32_t plain(uint32_t a, uint32_t, uint32_t) {
    return uint32_t(instructions::round_to_int(float(int(a % 4001) - 2000) * 0.5f));
  }
};
struct HalfToFloat {
  static constexpr const char* kName = "half_to_float";
  static __device__ uint32_t device(uint32_t a, uint32_t, uint32_t) { return float_bits(half_to_float(uint16_t(a))); }
  static uint32_t plain(uint32_t a, uint32_t, uint32_t) { return float_bits(fp16_to_float(uint16_t(a))); }
};
struct Bf16ToFloat {
  static constexpr const char* kName = "bf16_bits_to_float";
  static __device__ uint32_t device(uint32_t a, uint32_t, uint32_t) {
    return float_bits(bf16_bits_to_float(uint16_t(a)));
  }
  static uint32_t plain(uint32_t a, uint32_t, uint32_t) { return float_bits(bf16_to_float(uint16_t(a))); }
};
struct PackBf16 {
  static constexpr const char* kName = "pack_bf16";
  static __device__ uint32_t device(uint32_t a, uint32_t b, uint32_t) {
    return pack_bf16(float_from_bits(a), float_from_bits(b));
  }
  static uint32_t plain(uint32_t a, uint32_t b, uint32_t) {
    return instructions::pack_bf16(float_from_bits(a), float_from_bits(b));
  }
};
struct FmaBf16x2 {
  static constexpr const char* kName = "fma_bf16x2";
  static __device__ uint32_t device(uint32_t a, uint32_t b, uint32_t c) { return fma_bf16x2(a, b, c); }
  static uint32_t plain(uint32_t a, uint32_t b, uint32_t c) { return instructions::fma_bf16x2(a, b, c); }
};
struct LevelFromByte {  // as weight_run.cuh uses it: 128 + level, less 128 and an offset
  static constexpr const char* kName = "fma_bf16x2, levels";
  static HEARTH_HD uint32_t pair(uint32_t a) { return 0x43004300 | (a & 0x007f007f); }
  static __device__ uint32_t device(uint32_t a, uint32_t b, uint32_t) {
    return fma_bf16x2(pair(a), 0x3f803f80, 0xc300c300 | (b & 0x00200020));
  }
  static uint32_t plain(uint32_t a, uint32_t b, uint32_t) {
    return instructions::fma_bf16x2(pair(a), 0x3f803f80, 0xc300c300 | (b & 0x00200020));
  }
};
struct Exp2Bits {  // of anything
  static constexpr const char* kName = "exp2_fast";
  static __device__ uint32_t device(uint32_t a, uint32_t, uint32_t) {
    return float_bits(exp2_fast(float_from_bits(a)));
  }
  static uint32_t plain(uint32_t a, uint32_t, uint32_t) {
    return float_bits(instructions::exp2_fast(float_from_bits(a)));
  }
};
// Where exponents are not all zero or infinite: -160 to 96.
HEARTH_HD inline float exponent_of(uint32_t a) {
  return float(a) * 0x1p-24f - 160.0f;
}
struct Exp2InRange {
  static constexpr const char* kName = "exp2_fast, -160 to 96";
  static __device__ uint32_t device(uint32_t a, uint32_t, uint32_t) { return float_bits(exp2_fast(exponent_of(a))); }
  static uint32_t plain(uint32_t a, uint32_t, uint32_t) { return float_bits(instructions::exp2_fast(exponent_of(a))); }
};

template <class Instruction>
__global__ void single_kernel(const uint32_t* in, uint32_t* out) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  out[i] = Instruction::device(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
}

template <class Instruction>
void check_single(Same same) {
  const auto in = random_words(3 * kCases, 1 + uint32_t(n_checked));
  std::vector<uint32_t> expected(kCases);
  for (int i = 0; i < kCases; ++i) expected[i] = Instruction::plain(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
  compare(Instruction::kName, run(Instruction::kName, single_kernel<Instruction>, in, kCases), expected, same);
}

// Every 16-bit number, not a sample.
void check_all_halves() {
  std::vector<uint32_t> found, expected;
  for (uint32_t first = 0; first < 0x10000; first += kCases) {
    std::vector<uint32_t> in(3 * kCases);
    for (uint32_t i = 0; i < kCases; ++i) {
      in[3 * i] = first + i;
      expected.push_back(HalfToFloat::plain(first + i, 0, 0));
    }
    const auto part = run(HalfToFloat::kName, single_kernel<HalfToFloat>, in, kCases);
    found.insert(found.end(), part.begin(), part.end());
  }
  compare("half_to_float, all", found, expected, same_float);
}

// ---- Instructions of a warp

// Each lane: the value of lane l ^ 5, of lane 7, of three lanes on, of lane 9 of its half; the warp's votes.
__global__ void shuffle_kernel(const uint32_t* in, uint32_t* out) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  const uint32_t v = in[i];
  out[6 * i] = __shfl_xor_sync(kAllLanes, v, 5);
  out[6 * i + 1] = __shfl_sync(kAllLanes, v, 7);
  out[6 * i + 2] = __shfl_down_sync(kAllLanes, v, 3);
  out[6 * i + 3] = __shfl_sync(kAllLanes, v, 9, 16);
  out[6 * i + 4] = __ballot_sync(kAllLanes, v & 1);
  out[6 * i + 5] = __shfl_up_sync(kAllLanes, v, 2, 8);
}

void check_shuffles() {
  const auto in = random_words(kCases, 20);
  std::vector<uint32_t> expected;
  for (int i = 0; i < kCases; ++i) {
    const uint32_t* warp = in.data() + i / 32 * 32;
    const int lane = i % 32;
    uint32_t votes = 0;
    for (int l = 0; l < 32; ++l) votes |= (warp[l] & 1) << l;
    const uint32_t values[] = {warp[lane ^ 5],           warp[7], warp[lane + 3 < 32 ? lane + 3 : lane],
                               warp[lane / 16 * 16 + 9], votes,   warp[lane % 8 >= 2 ? lane - 2 : lane]};
    expected.insert(expected.end(), values, values + 6);
  }
  compare("shuffles and votes", run("shuffle", shuffle_kernel, in, 6 * kCases), expected, same_bits);
}

// Sums and maxima over n neighbouring lanes, of floats that round when they are added, and of ints. The bits tell in
// which order that was.
HEARTH_HD inline float float_to_add(uint32_t word) {
  return float(int(word % 2000001) - 1000000) * 0.001f;
}
HEARTH_HD inline int int_to_add(uint32_t word) {
  return int(word % 2001) - 1000;
}

template <int n>
__global__ void reduce_kernel(const uint32_t* in, uint32_t* out) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  out[4 * i] = float_bits(warp_sum<n>(float_to_add(in[i])));
  out[4 * i + 1] = float_bits(warp_max<n>(float_to_add(in[i])));
  out[4 * i + 2] = uint32_t(warp_sum<n>(int_to_add(in[i])));
  out[4 * i + 3] = uint32_t(warp_max<n>(int_to_add(in[i])));
}

// Each step puts together what the lanes at one distance have.
template <class T, class Two>
std::vector<T> in_steps(std::vector<T> values, int n, Two two) {
  for (int offset = n / 2; offset > 0; offset /= 2) {
    const std::vector<T> before = values;
    for (size_t i = 0; i < values.size(); ++i) values[i] = two(before[i], before[i ^ size_t(offset)]);
  }
  return values;
}

template <int n>
void check_reductions() {
  const auto in = random_words(kCases, 21);
  std::vector<float> floats;
  std::vector<int> ints;
  for (const uint32_t word : in) {
    floats.push_back(float_to_add(word));
    ints.push_back(int_to_add(word));
  }
  const auto sum = [](auto a, auto b) { return a + b; };
  const auto largest = [](auto a, auto b) { return a > b ? a : b; };
  const std::vector<float> float_sums = in_steps(floats, n, sum), largest_floats = in_steps(floats, n, largest);
  const std::vector<int> int_sums = in_steps(ints, n, sum), largest_ints = in_steps(ints, n, largest);
  std::vector<uint32_t> expected;
  for (size_t i = 0; i < in.size(); ++i) {
    const uint32_t values[] = {float_bits(float_sums[i]), float_bits(largest_floats[i]), uint32_t(int_sums[i]),
                               uint32_t(largest_ints[i])};
    expected.insert(expected.end(), values, values + 4);
  }
  const std::string name = "warp_sum, warp_max, " + std::to_string(n);
  compare(name.c_str(), run("reduce", reduce_kernel<n>, in, 4 * kCases), expected, same_bits);
}

// A warp's 32 rows of 16 bytes lie in shared memory in an order of their own: lane l reads row 5 l + 3.
HEARTH_HD inline int row_of_lane(int lane) {
  return (5 * lane + 3) % 32;
}

template <bool kTransposed>
__global__ void ldmatrix_kernel(const uint4* in, uint32_t* out) {
  GPU_SHARED(uint4, rows, kThreads);
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  rows[threadIdx.x] = in[i];
  __syncthreads();
  uint32_t r[4];
  const uint4* row = &rows[warp_of_thread() * 32 + row_of_lane(lane_of_thread())];
  if constexpr (kTransposed) {
    ldmatrix_x4_transposed(r, row);
  } else {
    ldmatrix_x4(r, row);
  }
  for (int j = 0; j < 4; ++j) out[4 * i + j] = r[j];
}

std::vector<uint4> random_quads(size_t n, uint32_t seed) {
  const auto words = random_words(4 * n, seed);
  std::vector<uint4> quads(n);
  std::memcpy(quads.data(), words.data(), 16 * n);
  return quads;
}

template <bool kTransposed>
void check_ldmatrix(const char* name) {
  const auto in = random_quads(kCases, 22);
  std::vector<uint32_t> expected;
  for (int warp = 0; warp < kWarps; ++warp) {
    const void* rows[32];
    for (int lane = 0; lane < 32; ++lane) rows[lane] = &in[warp * 32 + row_of_lane(lane)];
    uint32_t r[32][4];
    instructions::ldmatrix_x4(rows, kTransposed, r);
    expected.insert(expected.end(), &r[0][0], &r[0][0] + 128);
  }
  compare(name, run(name, ldmatrix_kernel<kTransposed>, in, 4 * kCases), expected, same_bits);
}

// In: for each lane a [4], b [2], d [4] as words.
constexpr int kMmaWords = 10;

template <bool anew>
__global__ void mma_kernel(const uint32_t* in, uint32_t* out) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  const uint32_t* from = in + kMmaWords * i;
  const uint32_t a[4] = {from[0], from[1], from[2], from[3]};
  float d[4];
  for (int j = 0; j < 4; ++j) d[j] = float_from_bits(from[6 + j]);
  if constexpr (anew) {
    mma_bf16_anew(d, a, from[4], from[5]);
  } else {
    mma_bf16(d, a, from[4], from[5]);
  }
  for (int j = 0; j < 4; ++j) out[4 * i + j] = float_bits(d[j]);
}

// One warp's product in plain C++, of the values or (for the tolerance) of their magnitudes.
void plain_mma(const uint32_t* in, bool anew, bool magnitudes, float (&d)[32][4]) {
  uint32_t a[32][4], b[32][2];
  const uint32_t keep = magnitudes ? 0x7fff7fff : 0xffffffff;
  for (int lane = 0; lane < 32; ++lane) {
    const uint32_t* from = in + kMmaWords * lane;
    for (int j = 0; j < 4; ++j) a[lane][j] = from[j] & keep;
    for (int j = 0; j < 2; ++j) b[lane][j] = from[4 + j] & keep;
    for (int j = 0; j < 4; ++j) {
      d[lane][j] = anew ? 0.0f : float_from_bits(from[6 + j] & (magnitudes ? 0x7fffffff : 0xffffffff));
    }
  }
  instructions::mma_m16n8k16_bf16(a, b, d);
}

template <bool anew>
void check_mma(const char* name) {
  // Any sign and mantissa, exponents of 2^-7 to 2^8: sums cancel, and nothing overflows.
  std::mt19937 rng(23);
  std::vector<uint32_t> in(kMmaWords * kCases);
  const auto bf16 = [&] { return (rng() & 0x807f) | (120 + rng() % 16) << 7; };
  for (size_t i = 0; i < in.size(); ++i) {
    in[i] = i % kMmaWords < 6 ? bf16() | bf16() << 16 : float_bits(bf16_to_float(uint16_t(bf16())));
  }
  const auto found = run(name, mma_kernel<anew>, in, 4 * kCases);
  ++n_checked;
  double worst = 0;
  for (int warp = 0; warp < kWarps; ++warp) {
    float expected[32][4], magnitude[32][4];
    plain_mma(in.data() + kMmaWords * 32 * warp, anew, false, expected);
    plain_mma(in.data() + kMmaWords * 32 * warp, anew, true, magnitude);
    for (int lane = 0; lane < 32; ++lane) {
      for (int j = 0; j < 4; ++j) {
        const double value = float_from_bits(found[128 * warp + 4 * lane + j]);
        const double error = std::fabs(value - double(expected[lane][j])) / double(magnitude[lane][j]);
        if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
      }
    }
  }
  // 17 terms, each cut off at about the last place of the largest.
  const bool close = worst <= 4e-6;
  if (!close) ++n_failed;
  std::printf("%-24s %7d values %s, worst error %.1e of the terms' magnitude\n", name, 4 * kCases,
              close ? "agree" : "DIFFER", worst);
}

// Products of bytes, k = 16 or 32 of them. In: for each lane a [k / 8], b [k / 16], d [4] as words.
template <int k>
constexpr int kByteWords = k / 8 + k / 16 + 4;

template <int k>
__global__ void mma_s8_kernel(const uint32_t* in, uint32_t* out) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  const uint32_t* from = in + kByteWords<k> * i;
  const uint32_t* to = from + k / 8 + k / 16;
  int d[4] = {int(to[0]), int(to[1]), int(to[2]), int(to[3])};
  if constexpr (k == 32) {
    const uint32_t a[4] = {from[0], from[1], from[2], from[3]};
    mma_s8(d, a, from[4], from[5]);
  } else {
    mma_s8_k16(d, from[0], from[1], from[2]);
  }
  for (int j = 0; j < 4; ++j) out[4 * i + j] = uint32_t(d[j]);
}

template <int k>
void check_mma_s8(const char* name) {
  const auto in = random_words(size_t(kByteWords<k> * kCases), 25 + k);
  std::vector<uint32_t> expected;
  for (int warp = 0; warp < kWarps; ++warp) {
    uint32_t a[32][k / 8], b[32][k / 16];
    int32_t d[32][4];
    for (int lane = 0; lane < 32; ++lane) {
      const uint32_t* from = in.data() + kByteWords<k> * (32 * warp + lane);
      std::memcpy(a[lane], from, sizeof a[lane]);
      std::memcpy(b[lane], from + k / 8, sizeof b[lane]);
      std::memcpy(d[lane], from + k / 8 + k / 16, sizeof d[lane]);
    }
    instructions::mma_s8<k>(a, b, d);
    expected.insert(expected.end(), &d[0][0], &d[0][0] + 128);
  }
  compare(name, run(name, mma_s8_kernel<k>, in, 4 * kCases), expected, same_bits);
}

// ---- Copies

// Thread i copies quad i ^ 1 to shared memory 16 bytes at once, and word by word quad i ^ 3; each only where a bit of
// its first word says so. The first group must have landed while the second may be under way.
HEARTH_HD inline bool wide_valid(uint32_t word) {
  return word & 1;
}
HEARTH_HD inline bool narrow_valid(uint32_t word, int j) {
  return word >> (1 + j) & 1;
}

__global__ void copy_kernel(const uint4* in, uint32_t* out) {
  GPU_SHARED(uint4, wide, kThreads);
  GPU_SHARED(uint4, narrow, kThreads);
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x), thread = int(threadIdx.x);
  const uint32_t word = in[i].x;
  wide[thread] = narrow[thread] = make_uint4(~0u, ~0u, ~0u, ~0u);
  cp_async_16(&wide[thread], in + (i ^ 1), wide_valid(word));
  cp_async_commit();
  for (int j = 0; j < 4; ++j) {
    cp_async_4(reinterpret_cast<uint32_t*>(&narrow[thread]) + j, reinterpret_cast<const uint32_t*>(in + (i ^ 3)) + j,
               narrow_valid(word, j));
  }
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();
  const uint4 first = wide[thread ^ 31];
  cp_async_wait<0>();
  __syncthreads();
  const uint4 second = narrow[thread ^ 31];
  const uint32_t values[] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
  for (int j = 0; j < 8; ++j) out[8 * i + j] = values[j];
}

void check_copies() {
  const auto in = random_quads(kCases, 24);
  std::vector<uint32_t> expected;
  for (int i = 0; i < kCases; ++i) {
    const int from = i ^ 31;  // who copied what this thread reads
    const uint32_t word = in[from].x;
    const uint4 wide = wide_valid(word) ? in[from ^ 1] : uint4{};
    const uint4 narrow = in[from ^ 3];
    const uint32_t values[] = {wide.x,
                               wide.y,
                               wide.z,
                               wide.w,
                               narrow_valid(word, 0) ? narrow.x : 0,
                               narrow_valid(word, 1) ? narrow.y : 0,
                               narrow_valid(word, 2) ? narrow.z : 0,
                               narrow_valid(word, 3) ? narrow.w : 0};
    expected.insert(expected.end(), values, values + 8);
  }
  compare("cp_async", run("copy", copy_kernel, in, 8 * kCases), expected, same_bits);
}

// Thread i copies the first 0 to 16 bytes of its quad; the rest must be zeros.
HEARTH_HD inline int n_first(int i) {
  return i % 17;
}

__global__ void copy_first_kernel(const uint4* in, uint32_t* out) {
  GPU_SHARED(uint4, quads, kThreads);
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x), thread = int(threadIdx.x);
  cp_async_first(&quads[thread], in + i, n_first(i));
  cp_async_commit();
  cp_async_wait<0>();
  const auto* bytes = reinterpret_cast<const uint8_t*>(&quads[thread]);
  for (int j = 0; j < 4; ++j) {
    uint32_t word = 0;
    for (int k = 0; k < 4; ++k) word |= uint32_t(bytes[4 * j + k]) << 8 * k;
    out[4 * i + j] = word;
  }
}

void check_first_copies() {
  const auto in = random_quads(kCases, 25);
  std::vector<uint32_t> expected(4 * kCases, 0);
  for (int i = 0; i < kCases; ++i) std::memcpy(&expected[4 * size_t(i)], &in[size_t(i)], size_t(n_first(i)));
  compare("cp_async_first", run("copy", copy_first_kernel, in, 4 * kCases), expected, same_bits);
}

// 100 launches, each of which adds 1 to what the one before has written, a block to what another block has. They may
// begin early; half of them by way of a graph.
__global__ void add_one_kernel(const uint32_t* in, uint32_t* out) {
  launch_dependents();
  wait_for_earlier();
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  for (int j = 0; j < 8; ++j) __syncthreads();  // takes a while
  out[i] = in[kCases - 1 - i] + 1;
}

void check_early_launches() {
  const auto values = random_words(kCases, 26);
  uint32_t *const first = upload(values), *const second = upload(values);
  Queue queue;
  check(cudaStreamCreateWithFlags(&queue.stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(add_one_kernel)), "cudaFuncGetAttributes");
  queue.kernels_wait = attributes.ptxVersion >= 90;
  const auto fifty = [&] {
    for (int i = 0; i < 25; ++i) {
      launch_early("add_one", add_one_kernel, dim3(kBlocks), dim3(kThreads), 0, queue, first, second);
      launch_early("add_one", add_one_kernel, dim3(kBlocks), dim3(kThreads), 0, queue, second, first);
    }
    check(cudaGetLastError(), "add_one");
  };
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t recorded = nullptr;
  fifty();
  check(cudaStreamBeginCapture(queue.stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  fifty();
  check(cudaStreamEndCapture(queue.stream, &graph), "cudaStreamEndCapture");
  check(cudaGraphInstantiate(&recorded, graph, 0), "cudaGraphInstantiate");
  check(cudaGraphLaunch(recorded, queue.stream), "cudaGraphLaunch");
  check(cudaStreamSynchronize(queue.stream), "add_one");
  std::vector<uint32_t> found(values), expected(values);
  for (uint32_t& word : expected) word += 100;
  check(cudaMemcpy(found.data(), first, kCases * sizeof(uint32_t), cudaMemcpyDeviceToHost), "download");
  compare(queue.kernels_wait ? "launches that begin early" : "launches in turn", found, expected, same_bits);
  check(cudaGraphExecDestroy(recorded), "cudaGraphExecDestroy");
  check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  check(cudaStreamDestroy(queue.stream), "cudaStreamDestroy");
  check(cudaFree(first), "cudaFree");
  check(cudaFree(second), "cudaFree");
}

int check_all() {
  int n_devices = 0;
  if (cudaGetDeviceCount(&n_devices) != cudaSuccess || n_devices == 0) {
    std::printf("conformance: no GPU here, nothing was compared\n");
    return 77;
  }
  check_single<Dp4a>(same_bits);
  check_single<BytePermute>(same_bits);
  check_single<FunnelShift>(same_bits);
  check_single<SubtractBytes>(same_bits);
  check_single<RoundToInt>(same_bits);
  check_single<RoundHalves>(same_bits);
  check_single<Bf16ToFloat>(same_bits);
  check_single<PackBf16>(same_bits);
  check_single<FmaBf16x2>(same_bf16_pair);
  check_single<LevelFromByte>(same_bits);
  check_single<Exp2Bits>(close_float);
  check_single<Exp2InRange>(close_float);
  check_all_halves();
  check_shuffles();
  check_reductions<32>();
  check_reductions<16>();
  check_reductions<8>();
  check_reductions<4>();
  check_reductions<2>();
  check_ldmatrix<false>("ldmatrix_x4");
  check_ldmatrix<true>("ldmatrix_x4_transposed");
  check_mma<false>("mma_bf16");
  check_mma<true>("mma_bf16_anew");
  check_mma_s8<32>("mma_s8");
  check_mma_s8<16>("mma_s8_k16");
  check_copies();
  check_first_copies();
  check_early_launches();
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  std::printf("%d of %d groups of instructions agree with their plain functions on %s\n", n_checked - n_failed,
              n_checked, properties.name);
  return n_failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace hearth::gpu

int main() {
  return hearth::gpu::check_all();
}
