// The AVX2 panels themselves: what a decoder may write, and the way for formats that have no decoder.
#include "kernels/cpu/avx2/panel.h"

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
      avx2::kernel_for(format).decode(format, w.view.data, 0, k, out.data());
      for (int64_t i = 0; i < k; ++i) CHECK(out[i] == w.row(0, 0)[i]);
      for (int64_t i = k; i < k8; ++i) CHECK(out[i] == 0.0f);
      for (size_t i = k8; i < out.size(); ++i) CHECK(std::isnan(out[i]));
    }
  }
}

TEST_CASE("a format without a decoder goes by its own decode through the same loop, to the same bits") {
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
        const int64_t k = id == FormatId::f32 ? 777 : 768, stride = (T + 3) / 4 * 4;
        const TestWeight w = TestWeight::random_bytes(rng, unknown, 1, n_rows, k);
        const Rows x = Rows::random(rng, T, k);
        avx2::Panel panel{&unknown, w.view.data, w.view.row_bytes, n_rows, k, {x[0], x.view().stride, nullptr}, 0, T};
        std::vector<float> by_table(avx2::kPanelFloats), own(avx2::kPanelFloats);
        avx2::kernel_for(unknown).multiply(panel, by_table.data());
        panel.format = &format_of(id);
        avx2::kernel_for(format_of(id)).multiply(panel, own.data());
        for (int64_t i = 0; i < n_rows; ++i) {
          for (int64_t t = 0; t < T; ++t) CHECK(by_table[i * stride + t] == own[i * stride + t]);
        }
      }
    }
  }
}
