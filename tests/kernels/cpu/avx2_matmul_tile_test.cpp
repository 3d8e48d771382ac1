// The AVX2 float products themselves, which the router and naive attention use for every format: what a decoder may
// write, the sums, and the way for formats that have no decoder.
#include "kernels/cpu/avx2/kernels.h"

#include "tests/kernels/fixture.h"

using namespace hearth;
using namespace hearth::test;

namespace {

bool can_run() {
  for (const CpuIsa& isa : cpu_isas()) {
    if (std::string(isa.name) == "avx2" && isa.available) return true;
  }
  MESSAGE("SKIP: this processor lacks AVX2");
  return false;
}

const uint8_t* bytes_of(const TestWeight& w) {
  return reinterpret_cast<const uint8_t*>(w.view.data);
}

// All rows of w times all tokens of x.
Rows multiply(const Format& format, const TestWeight& w, const Rows& x) {
  const int64_t T = x.view().rows;
  std::vector<const void*> tokens;
  for (int64_t t = 0; t < T; ++t) tokens.push_back(x[t]);
  Rows out(T, w.view.n);
  avx2::multiply_floats(format, {bytes_of(w), w.view.row_bytes, w.view.n, w.view.k, tokens.data(), T, out.view().row(0),
                                 out.view().stride});
  return out;
}

}  // namespace

TEST_CASE("decode: the weights, zeros to the next multiple of 8, and nothing beyond") {
  if (!can_run()) return;
  for (const Format& format : all_formats()) {
    Rng rng(1);
    for (const int64_t k : {1, 8, 9, 16, 31, 32, 33, 128, 256, 512}) {
      if (!format.fits(k)) continue;
      CAPTURE(name_of(format.id));
      CAPTURE(k);
      const TestWeight w = TestWeight::random_bytes(rng, format, 1, 1, k);
      const int64_t k8 = (k + 7) / 8 * 8;
      std::vector<float> out(k8 + 64, NAN);
      avx2::float_decoder(format)(format, bytes_of(w), 0, k, out.data());
      for (int64_t i = 0; i < k; ++i) CHECK(out[i] == w.row(0, 0)[i]);
      for (int64_t i = k; i < k8; ++i) CHECK(out[i] == 0.0f);
      for (size_t i = k8; i < out.size(); ++i) CHECK(std::isnan(out[i]));
    }
  }
}

TEST_CASE("multiply_floats: sums of unrounded activations for every format, whatever tokens come together") {
  if (!can_run()) return;
  for (const Format& format : all_formats()) {
    for (const int64_t n_rows : {1, 4, 11, 12, 25}) {
      CAPTURE(name_of(format.id));
      CAPTURE(n_rows);
      Rng rng(3);
      const int64_t k = format.block_elems == 1 ? 777 : 768, T = 9;
      const TestWeight w = TestWeight::random_bytes(rng, format, 1, n_rows, k);
      const Rows x = Rows::random(rng, T, k);
      const Rows y = multiply(format, w, x);
      CHECK(y.clean());
      Worst worst;
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t i = 0; i < n_rows; ++i) {
          const Sum sum = dot(w.row(0, i), x[t], k);
          worst.see(y[t][i], sum.value, sum.magnitude + 1e-30);
        }
        const void* token = x[t];
        std::vector<float> alone(n_rows);
        avx2::multiply_floats(format, {bytes_of(w), w.view.row_bytes, n_rows, k, &token, 1, alone.data(), n_rows});
        CHECK(std::memcmp(alone.data(), y[t], size_t(n_rows) * sizeof(float)) == 0);
      }
      CHECK(worst.error <= 1e-6);
    }
  }
}

TEST_CASE("multiply_floats: a format without a decoder goes by its own decode, to the same bits") {
  if (!can_run()) return;
  for (const FormatId id : {FormatId::f32, FormatId::q8_0, FormatId::q6_k}) {
    Format unknown = format_of(id);
    unknown.id = FormatId(0x7777);
    for (const int64_t T : {1, 2, 5, 128}) {
      for (const int64_t n_rows : {1, 4, 11, 12}) {
        CAPTURE(name_of(id));
        CAPTURE(T);
        CAPTURE(n_rows);
        Rng rng(2);
        const int64_t k = id == FormatId::f32 ? 777 : 768;
        const TestWeight w = TestWeight::random_bytes(rng, unknown, 1, n_rows, k);
        const Rows x = Rows::random(rng, T, k);
        CHECK(multiply(unknown, w, x).same_bits(multiply(format_of(id), w, x)));
      }
    }
  }
}
