// What the tests of the operations share: every table this machine can run, random weights in any format, buffers that
// notice a stray read (NaN everywhere outside) or write (the NaNs must still be there).
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/backend.h"
#include "kernels/device.h"
#include "quant/fp.h"
#include "tests/support/random_rows.h"

#ifdef HEARTH_EMULATED_AMX
#include "kernels/cpu/amx/install.h"
#endif

namespace hearth::test {

#ifdef HEARTH_EMULATED_AMX
// The table "amx" on a tile unit made of AVX-512 (tests/emulation/amx_tiles.h), and no other.
inline std::vector<const Ops*> available_tables() {
  if (!__builtin_cpu_supports("avx512vbmi") || !__builtin_cpu_supports("avx512bf16")) {
    MESSAGE("SKIP: this processor cannot emulate the tile unit");
    return {};
  }
  static const Ops ops = [] {
    Ops table = cpu_ops("avx512");
    amx::install(table);
    table.name = "amx";
    return table;
  }();
  return {&ops};
}
#else
inline std::vector<const Ops*> available_tables() {
  std::vector<const Ops*> tables;
  for (const CpuIsa& isa : cpu_isas()) {
    if (isa.available) {
      tables.push_back(isa.ops);
    } else {
      MESSAGE("left out: this processor cannot run the table ", std::string(isa.name));
    }
  }
  return tables;
}
#endif

// For CAPTURE, which prints a char* as an address.
inline std::string name_of(const Ops* ops) {
  return ops->name;
}
inline std::string name_of(FormatId id) {
  return format_of(id).name;
}

using Rng = std::mt19937;

inline float normal(Rng& rng) {
  return std::normal_distribution<float>()(rng);
}

// A matrix of floats inside NaNs: before, after, and between the rows. Stride and start are odd on purpose.
class Rows {
 public:
  Rows(int64_t rows, int64_t cols, int64_t gap = 3)
      : rows_(rows), cols_(cols), stride_(cols + gap), data_(size_t(kEdge + rows * stride_ + kEdge), nan()) {}
  static Rows random(Rng& rng, int64_t rows, int64_t cols, int64_t gap = 3) {
    Rows r(rows, cols, gap);
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t i = 0; i < cols; ++i) r.view().row(t)[i] = normal(rng);
    }
    return r;
  }
  Mat<float> view() { return {data_.data() + kEdge, rows_, cols_, stride_}; }
  Mat<const float> view() const { return {data_.data() + kEdge, rows_, cols_, stride_}; }
  // The same matrix with columns [first, first + H*width) seen as heads.
  Heads<float> heads(int64_t H, int64_t width, int64_t first = 0, int64_t head_stride = 0) {
    return {data_.data() + kEdge + first, rows_, H, width, stride_, head_stride ? head_stride : width};
  }
  const float* operator[](int64_t t) const { return view().row(t); }
  // Nothing was written outside the matrix, and no element inside was left out.
  bool clean() const {
    for (size_t i = 0; i < data_.size(); ++i) {
      const int64_t at = int64_t(i) - kEdge;
      const bool inside = at >= 0 && at / stride_ < rows_ && at % stride_ < cols_;
      if (std::isnan(data_[i]) == inside) return false;
    }
    return true;
  }
  bool same_bits(const Rows& other) const {
    return data_.size() == other.data_.size() &&
           std::memcmp(data_.data(), other.data_.data(), data_.size() * sizeof(float)) == 0;
  }

 private:
  static constexpr int64_t kEdge = 17;
  static float nan() { return std::numeric_limits<float>::quiet_NaN(); }
  int64_t rows_, cols_, stride_;
  std::vector<float> data_;
};

// `count` matrices in a format, owned, with the floats that they stand for. The bytes end exactly where the last row
// ends, so that a sanitizer sees a read past it.
struct TestWeight {
  Weight view;
  std::vector<std::byte> bytes;
  std::vector<float> floats;  // [count, n, k]

  const float* row(int64_t matrix, int64_t i) const { return floats.data() + (matrix * view.n + i) * view.k; }

  // Rows of Gaussian weights of the given size, through the format's own encoder; without one, random rows of that
  // size.
  static TestWeight gaussian(Rng& rng, const Format& format, int64_t count, int64_t n, int64_t k, float size) {
    TestWeight w(format, count, n, k);
    std::vector<float> row(k);
    for (int64_t i = 0; i < count * n; ++i) {
      std::byte* to = w.bytes.data() + i * w.view.row_bytes;
      if (!format.encode) {
        random_row(rng, format, size, to, k);
        continue;
      }
      for (float& x : row) x = size * normal(rng);
      format.encode(row.data(), nullptr, to, k);
    }
    w.decode();
    return w;
  }

  // Blocks of random bytes, drawn again where they decode to something not finite or huge: every bit pattern that
  // occurs in a file, and more.
  static TestWeight random_bytes(Rng& rng, const Format& format, int64_t count, int64_t n, int64_t k) {
    TestWeight w(format, count, n, k);
    for (size_t row = 0; row < w.bytes.size(); row += w.view.row_bytes) {
      for (size_t at = format.row_header; at < w.view.row_bytes; at += format.block_bytes) {
        const bool first = at == format.row_header;  // and the header with it
        bool usable = false;
        while (!usable) {
          for (size_t j = first ? 0 : at; j < at + format.block_bytes; ++j) w.bytes[row + j] = std::byte(rng());
          usable = true;
          for (const float v : w.block(row, at)) usable = usable && std::abs(v) < 1e6f;
        }
      }
    }
    w.decode();
    return w;
  }

  // One matrix whose rows hold, as far as a block stays finite and does not become zero, nothing but a byte: 0x00,
  // 0x7f, 0x80, 0xff in turn. So weights are at the ends of their range.
  static TestWeight extreme(Rng& rng, const Format& format, int64_t n, int64_t k) {
    TestWeight w = random_bytes(rng, format, 1, n, k);
    for (size_t row = 0; row < w.bytes.size(); row += w.view.row_bytes) {
      const std::byte wanted[] = {std::byte(0x00), std::byte(0x7f), std::byte(0x80), std::byte(0xff)};
      for (size_t at = format.row_header; at < w.view.row_bytes; at += format.block_bytes) {
        for (size_t j = row + at; j < row + at + format.block_bytes; ++j) {
          const std::byte before = w.bytes[j];
          w.bytes[j] = wanted[row / w.view.row_bytes % 4];
          const std::vector<float> values = w.block(row, at);
          bool usable = false;
          for (const float v : values) usable = usable || v != 0;
          for (const float v : values) usable = usable && std::abs(v) < 1e6f;
          if (!usable) w.bytes[j] = before;
        }
      }
    }
    w.decode();
    return w;
  }

  // One matrix of the given bytes.
  static TestWeight of_bytes(const Format& format, int64_t n, int64_t k, const std::vector<std::byte>& bytes) {
    TestWeight w(format, 1, n, k);
    std::copy(bytes.begin(), bytes.begin() + std::ptrdiff_t(w.bytes.size()), w.bytes.begin());
    w.decode();
    return w;
  }

 private:
  TestWeight(const Format& format, int64_t count, int64_t n, int64_t k)
      : bytes(format.bytes(k) * size_t(count * n)), floats(size_t(count * n * k)) {
    view = {&format, bytes.data(), count, n, k, format.bytes(k), format.bytes(k) * size_t(n)};
  }
  // The weights of a block, `at` bytes into a row. With the row's header it is a row by itself.
  std::vector<float> block(size_t row, size_t at) const {
    const auto begin = bytes.begin() + std::ptrdiff_t(row);
    std::vector<std::byte> alone(begin, begin + view.format->row_header);
    alone.insert(alone.end(), begin + std::ptrdiff_t(at), begin + std::ptrdiff_t(at + view.format->block_bytes));
    std::vector<float> values(view.format->block_elems);
    view.format->decode(alone.data(), values.data(), view.format->block_elems);
    return values;
  }
  void decode() {
    for (int64_t i = 0; i < view.count * view.n; ++i) {
      view.format->decode(bytes.data() + i * view.row_bytes, floats.data() + i * view.k, view.k);
    }
    view.data = bytes.data();
  }
};

// A table with scratch for calls up to `limits`, poisoned before each use and watched behind its end.
class Bed {
 public:
  Bed(const Ops& ops, ScratchLimits limits, int n_threads = 2) : ops(ops), n_threads_(n_threads) {
    limits.n_threads = n_threads;
    bytes_ = ops.scratch_bytes(limits);
    memory_.resize((bytes_ + 64 + kGuard) / sizeof(float) + 16);
  }
  // For one call: fresh poison.
  Exec exec() {
    std::fill(memory_.begin(), memory_.end(), std::numeric_limits<float>::quiet_NaN());
    return {n_threads_, {start(), bytes_}, nullptr};
  }
  bool scratch_kept() const {
    for (const std::byte* p = start() + bytes_; p + 4 <= start() + bytes_ + kGuard; p += 4) {
      float f;
      std::memcpy(&f, p, 4);
      if (!std::isnan(f)) return false;
    }
    return true;
  }
  const Ops& ops;

 private:
  static constexpr size_t kGuard = 256;
  std::byte* start() const {
    return reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory_.data()) + 63) / 64 * 64);
  }
  int n_threads_;
  size_t bytes_ = 0;
  std::vector<float> memory_;
};

// A sum of products in double, and the sum of their magnitudes: what its rounding error is measured against.
struct Sum {
  double value = 0, magnitude = 0;
  void add(double a, double b) {
    value += a * b;
    magnitude += std::abs(a * b);
  }
};

// How a table stores what it multiplies. Its products are exact sums of these, but for the rounding of float sums.
enum class Stored {
  exact,
  x8,      // activations in 8 bits, one scale for every 256
  bf16_x,  // activations rounded to bfloat16
  bf16,    // activations and weights rounded to bfloat16
  int8,    // as x8, and weights in 8 bits, one scale for every 256 of a row
};

// The ways that a table may take for weights of a format; which one is the number of tokens' matter, those for few
// tokens first, and for F8_E4M3 in "avx512" the processor's.
inline std::vector<Stored> ways_of(const Ops& ops, FormatId id) {
  const std::string table = ops.name;
  if (table == "scalar" || id == FormatId::f32) return {Stored::exact};
  const bool floats = id == FormatId::f16 || id == FormatId::bf16 || id == FormatId::f8_e4m3 || id == FormatId::nvfp4;
  if (id == FormatId::f8_e4m3 && table == "avx512") return {Stored::exact, Stored::bf16_x};
  const Stored rows = floats ? Stored::exact : Stored::x8;
  const Format& format = format_of(id);
  const bool few_bits = !floats && 16 * format.block_bytes <= 11 * size_t(format.block_elems);
  if (table == "avx512" && few_bits) return {rows, Stored::int8};
  return table == "amx" ? std::vector{rows, few_bits ? Stored::int8 : Stored::bf16} : std::vector{rows};
}

// Whether a table's outputs for weights of a format have the same bits whatever tokens they are computed with.
inline bool same_for_any_tokens(const Ops& ops, FormatId id) {
  return std::string(ops.name) == "scalar" ||
         (ways_of(ops, id) == std::vector{Stored::exact} && id != FormatId::f8_e4m3);
}

inline float to_bf16(float x) {
  return bf16_to_float(float_to_bf16(x));
}

// n activations as they are after being stored.
inline std::vector<float> stored(const float* x, int64_t n, Stored how) {
  std::vector<float> out(x, x + n);
  for (int64_t at = 0; at < n; at += 256) {
    float max = 0;
    const int64_t end = std::min<int64_t>(n, at + 256);
    for (int64_t i = at; i < end; ++i) max = std::max(max, std::abs(x[i]));
    for (int64_t i = at; i < end; ++i) {
      if (how == Stored::x8 || how == Stored::int8)
        out[i] = max > 0 ? std::nearbyint(x[i] * (127 / max)) * (max / 127) : 0.0f;
      if (how == Stored::bf16_x || how == Stored::bf16) out[i] = to_bf16(x[i]);
    }
  }
  return out;
}

inline Sum dot(const float* a, const float* b, int64_t n) {
  Sum sum;
  for (int64_t i = 0; i < n; ++i) sum.add(a[i], b[i]);
  return sum;
}

// The same for weights w and activations stored in that way.
inline Sum stored_dot(const float* w, const std::vector<float>& x, Stored how) {
  Sum sum;
  for (size_t i = 0; i < x.size(); ++i) sum.add(how == Stored::bf16 ? to_bf16(w[i]) : w[i], x[i]);
  return sum;
}

// The weights as a table multiplies them for many tokens, found by unit vectors, whose products are single weights.
// They must be those of `w`, rounded to 8 bits at most: off by `steps` steps of a 127th of the largest of 256 weights.
// Half a step is for rounding, the others are for what the table must think a group's largest weight to be.
inline TestWeight as_multiplied(const Ops& ops, const TestWeight& w, float steps = 2) {
  const int64_t k = w.view.k, n = w.view.n;
  TestWeight rounded = w;
  rounded.view.data = rounded.bytes.data();
  const int64_t T = std::max<int64_t>(k, 128);  // many, for any table
  std::vector<float> unit(size_t(T * k), 0.0f), y(size_t(T * n));
  for (int64_t i = 0; i < k; ++i) unit[size_t(i * k + i)] = 1.0f;
  ScratchLimits limits;
  limits.max_tokens = T;
  limits.max_width = std::max(n, k);
  Bed bed(ops, limits);
  for (int64_t matrix = 0; matrix < w.view.count; ++matrix) {
    Weight one = w.view;
    one.data = w.view.row(matrix, 0);
    one.count = 1;
    ops.matmul(bed.exec(), one, {unit.data(), T, k, k}, {y.data(), T, n, n});
    int64_t far = 0;
    for (int64_t i = 0; i < n; ++i) {
      const float* exact = w.row(matrix, i);
      float* out = rounded.floats.data() + (matrix * n + i) * k;
      for (int64_t at = 0; at < k; at += 256) {
        const int64_t end = std::min<int64_t>(k, at + 256);
        float largest = 0;
        for (int64_t j = at; j < end; ++j) largest = std::max(largest, std::abs(exact[j]));
        for (int64_t j = at; j < end; ++j) {
          out[j] = y[size_t(j * n + i)];
          if (std::isnan(exact[j])) continue;
          far += !(std::abs(out[j] - exact[j]) <= steps * largest / 127);
        }
      }
    }
    CHECK(far == 0);
  }
  return rounded;
}

// The largest |found - expected| / scale so far, with where it was.
struct Worst {
  double error = 0;
  void see(double found, double expected, double scale) {
    const double e = std::abs(found - expected) / (scale > 0 ? scale : 1);
    if (!(e <= error)) error = std::isnan(e) ? std::numeric_limits<double>::infinity() : e;
  }
};

}  // namespace hearth::test
