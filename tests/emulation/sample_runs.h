// Runs the samples on fixed data and says whether the result was right.
#pragma once

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "quant/fp.h"
#include "tests/emulation/samples.h"
#include "tests/support/device_memory.h"

namespace hearth::test {

using samples::Fault;

inline std::vector<float> random_floats(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = std::uniform_real_distribution<float>(-1, 1)(random);
  return values;
}

enum class Result { right, wrong, failed };  // failed: the device says so

// What became of `run`, which throws where the device fails. The device is well again afterwards.
inline Result outcome(const std::function<bool()>& run, std::string* failure = nullptr) {
  try {
    return run() ? Result::right : Result::wrong;
  } catch (const std::runtime_error& error) {
    if (failure) *failure = error.what();
    emulation::reset();
    return Result::failed;
  }
}

inline bool near(double a, double b) {
  return std::abs(a - b) < 1e-3;  // false for NaN
}

inline bool scale_is_right(Fault fault, int n = 10000, int threads = 1024) {
  const std::vector<float> x = random_floats(size_t(n), 1);
  const DeviceArray<float> dx(x), dy(x.size());
  samples::scale(fault, dx, 3.0f, dy, n, threads, nullptr);
  const std::vector<float> y = dy.download();
  for (size_t i = 0; i < x.size(); i++) {
    if (y[i] != 3.0f * x[i]) return false;
  }
  return true;
}

inline bool row_sums_are_right(Fault fault, int threads = 256) {
  const int rows = 5, n = 777;
  const std::vector<float> x = random_floats(rows * n, 2);
  const DeviceArray<float> dx(x), dy(rows);
  samples::row_sums(fault, dx, dy, rows, n, threads, nullptr);
  const std::vector<float> y = dy.download();
  for (int i = 0; i < rows; i++) {
    double sum = 0;
    for (int j = 0; j < n; j++) sum += x[size_t(i * n + j)];
    if (!near(y[size_t(i)], sum)) return false;
  }
  return true;
}

inline bool mirror_is_right(Fault fault, int n = 7) {
  std::vector<float> x = random_floats(32 * size_t(n), 3);
  x[5] = x[100] = 0.0f;
  const DeviceArray<float> dx(x), dy(x.size());
  const DeviceArray<int> count(std::vector<int>{0});
  samples::mirror(fault, dx, dy, count, n, nullptr);
  return dy.download() == x && count.download()[0] == 32 * n - 2;
}

inline bool product_is_right(Fault fault) {
  const size_t m = 64, n = 32, k = 160;
  std::vector<uint16_t> a(m * k), b(n * k);
  const std::vector<float> values = random_floats(a.size() + b.size(), 4);
  for (size_t i = 0; i < a.size(); i++) a[i] = float_to_bf16(values[i]);
  for (size_t i = 0; i < b.size(); i++) b[i] = float_to_bf16(values[a.size() + i]);
  const DeviceArray<uint16_t> da(a), db(b);
  const DeviceArray<float> dc(m * n);
  samples::product(fault, da, db, dc, m, n, k, nullptr);
  const std::vector<float> c = dc.download();
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < n; j++) {
      double sum = 0;
      for (size_t l = 0; l < k; l++) sum += double(bf16_to_float(a[i * k + l])) * bf16_to_float(b[j * k + l]);
      if (!near(c[i * n + j], sum)) return false;
    }
  }
  return true;
}

// Twice in turn, the second time with what the first has written; `upload_between`: by way of a copy.
inline bool weighted_is_right(Fault fault, bool upload_between = false) {
  const int n = 150;
  const std::vector<float> x = random_floats(n, 5), weights = random_floats(n, 6);
  const DeviceArray<float> dx(x), dw(weights), dy(x.size()), dz(x.size());
  samples::weighted(fault == Fault::no_wait ? fault : Fault::none, dw, dx, dy, n, nullptr);
  if (upload_between) {
    const std::vector<float> y = dy.download();
    check_cuda(cudaMemcpy(dy, y.data(), n * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  samples::weighted(fault, dw, dy, dz, n, nullptr);
  const std::vector<float> z = dz.download();
  for (size_t i = 0; i < z.size(); i++) {
    if (z[i] != weights[i] * (weights[i] * x[i])) return false;
  }
  return true;
}

}  // namespace hearth::test
