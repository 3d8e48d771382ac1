// The AVX2 float products themselves, which the router and naive attention use for every format: what a decoder may
// write, the sums, and the way for formats that have no decoder. And all loops on rows with headers.
#include "kernels/cpu/avx2/kernels.h"

#include "tests/kernels/cpu/avx2_row_header_kernels.h"
#include "tests/kernels/fixture.h"
#include "tests/support/row_header.h"

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

TEST_CASE("multiply_floats: a format without a decoder whose rows have a header") {
  if (!can_run()) return;
  const int64_t k = 1344, T = 5;  // more than are decoded at once
  Rng rng(4), again(4);
  const TestWeight headed = TestWeight::gaussian(rng, scaled_q8(), 1, 13, k, 1);
  const TestWeight plain = TestWeight::gaussian(again, format_of(FormatId::q8_0), 1, 13, k, 1);
  const Rows x = Rows::random(rng, T, k);
  CHECK(multiply(scaled_q8(), headed, x).same_bits(multiply(format_of(FormatId::q8_0), plain, x)));
}

namespace {

// Rows of a format, and the same ones behind headers, powers of two, by which their scales are divided.
struct HeadedRows {
  TestWeight plain;
  size_t row_bytes;
  std::vector<uint8_t> headed;

  HeadedRows(Rng& rng, const Format& format, int64_t n, int64_t k, size_t scale_at)
      : plain(TestWeight::gaussian(rng, format, 1, n, k, 1)), row_bytes(2 + plain.view.row_bytes) {
    for (int64_t i = 0; i < n; ++i) {
      const float scale = std::ldexp(1.0f, int(i % 4) - 2);
      std::vector<uint8_t> row(bytes_of(plain) + size_t(i) * (row_bytes - 2),
                               bytes_of(plain) + size_t(i + 1) * (row_bytes - 2));
      for (size_t at = scale_at; at < row.size(); at += format.block_bytes) {
        uint16_t d;
        std::memcpy(&d, &row[at], 2);
        d = float_to_fp16(fp16_to_float(d) / scale);
        std::memcpy(&row[at], &d, 2);
      }
      const uint16_t header = float_to_fp16(scale);
      headed.insert(headed.end(), {uint8_t(header), uint8_t(header >> 8)});
      headed.insert(headed.end(), row.begin(), row.end());
    }
  }
};

}  // namespace

TEST_CASE("the loops find blocks and scales in rows with headers") {
  if (!can_run()) return;
  const struct {
    FormatId id;
    size_t scale_at;
    const Avx2Rows &headed, &plain;
  } formats[] = {{FormatId::q8_0, 0, kHeadedQ8_0, kPlainQ8_0}, {FormatId::q6_k, 208, kHeadedQ6_K, kPlainQ6_K}};
  for (const auto& f : formats) {
    for (const int64_t k : {256, 768, 800}) {
      const Format& format = format_of(f.id);
      if (!format.fits(k)) continue;
      CAPTURE(name_of(f.id));
      CAPTURE(k);
      Rng rng(5);
      const int64_t n = 37, T = 5;
      const HeadedRows w(rng, format, n, k, f.scale_at);
      const size_t plain_bytes = w.plain.view.row_bytes;
      const Rows x = Rows::random(rng, T, k);
      std::vector<X8> stored(T * ((k + 255) / 256));
      std::vector<const void*> tokens;
      for (int64_t t = 0; t < T; ++t) {
        X8* to = stored.data() + t * ((k + 255) / 256);
        tokens.push_back(to);
        for (int64_t at = 0; at < k; at += 256) avx2::quantize(x[t] + at, std::min<int64_t>(256, k - at), to++);
      }
      const auto same = [&](int64_t n_tokens, const auto& run) {
        Rows headed(n_tokens, n), plain(n_tokens, n);
        run(f.headed.engine, w.headed.data(), w.row_bytes, headed.view());
        run(f.plain.engine, bytes_of(w.plain), plain_bytes, plain.view());
        CHECK(headed.clean());
        CHECK(headed.same_bits(plain));
      };
      for (int which = 0; which < 3; ++which) {
        same(1 << which, [&](const FormatEngine& e, const uint8_t* rows, size_t row_bytes, Mat<float> y) {
          e.rows[which]({rows, row_bytes, n, k, tokens.data(), y.data, y.stride, nullptr});
        });
      }
      same(T, [&](const FormatEngine& e, const uint8_t* rows, size_t row_bytes, Mat<float> y) {
        e.panels({rows, row_bytes, n, k, tokens.data(), T, y.data, y.stride});
      });
      std::vector<float> headed(k + 8), plain(k + 8);
      for (int64_t at = 0; at < k; at += 512) {
        const int64_t here = std::min<int64_t>(512, k - at);
        f.headed.decode(format, w.headed.data() + w.row_bytes, at, here, headed.data() + at);
        f.plain.decode(format, bytes_of(w.plain) + plain_bytes, at, here, plain.data() + at);
      }
      CHECK(headed == plain);
    }
  }
}
