// Rows of the embedding in every format, to the bit.
#include "kernels/cuda/embed.h"

#include "tests/kernels/cuda/on_gpu.h"
#include "tests/kernels/cuda/rows.h"
#include "tests/support/schedules.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// The same floats, to the bit, but for the sign of NaN.
bool equal(const float* a, const float* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (float_bits(a[i]) != float_bits(b[i]) && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("cuda embed: every format, in any order of rows, as the table of formats decodes it") {
  for (const Format& format : all_formats()) {
    CAPTURE(name_of(format.id));
    Rng rng(1);
    const int64_t n = 5;
    // One block, several, and for the float formats a width that is a multiple of nothing.
    for (const int64_t k :
         {int64_t(format.block_elems), int64_t(3 * format.block_elems), int64_t(format.block_elems * 307)}) {
      if (k > 2000) continue;
      CAPTURE(k);
      const TestWeight table = TestWeight::random_bytes(rng, format, 1, n, k);
      const DeviceWeight device_table(table);
      const std::vector<int32_t> tokens = {4, 0, 4, 2, 1, 3, 0};
      const DeviceArray<int32_t> device_tokens(tokens);
      under_every_schedule([&] {
        const DeviceRows x(int64_t(tokens.size()), k);
        gpu::embed(on_gpu(), device_table.view, device_tokens, x.view());
        const Rows found = x.download();
        for (size_t t = 0; t < tokens.size(); ++t) CHECK(equal(found[int64_t(t)], table.row(0, tokens[t]), k));
      });
      const DeviceRows all(n, k, 0);
      gpu::decode_matrix(on_gpu(), device_table.view, all.view());
      const Rows found = all.download();
      for (int64_t i = 0; i < n; ++i) CHECK(equal(found[i], table.row(0, i), k));
    }
  }
}

TEST_CASE("cuda embed: one token of a wide table; no tokens") {
  Rng rng(2);
  const TestWeight table = TestWeight::random_bytes(rng, format_of(FormatId::q4_k), 1, 3, 2048);
  const DeviceWeight device_table(table);
  const DeviceArray<int32_t> token(std::vector<int32_t>{2});
  const DeviceRows x(1, 2048);
  gpu::embed(on_gpu(), device_table.view, token, x.view().slice(0, 0));
  CHECK(std::isnan(x.download()[0][0]));
  gpu::embed(on_gpu(), device_table.view, token, x.view());
  CHECK(equal(x.download()[0], table.row(0, 2), 2048));
}
