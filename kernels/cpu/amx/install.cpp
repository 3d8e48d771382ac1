#include "kernels/cpu/amx/install.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/avx512/bf16.h"
#include "kernels/cpu/avx512/install.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/matmul.h"

namespace hearth::amx {
namespace {

using namespace HEARTH_AVX512;

// The formats of few bits in tiles of 8 bits, the others in tiles of bfloat16, which keep more of a weight.
struct Rows {
  FormatEngine of[64];
  int n = 0;
  void add(const FormatEngine& row) {
    if (n == int(sizeof of / sizeof of[0])) std::abort();
    of[n++] = row;
  }

  // Tokens from which each way is faster, by counting what a Golden Cove core does for 32 rows x 256 weights: cycles of
  // its vector ports, and 16 for a product of tiles.
  //
  //                                  at once     for each token
  //   rows (up to 4 tokens)                      155, from the measurement below
  //   byte products, Q4_K            400         90
  //   exact tiles                    900         50: the tiles' latency, then scaling their sums
  //   8 bits                         1160        14
  //   bfloat16, Q8_0                 2400        16
  //
  // Tiles of an earlier kernel in bfloat16, 1450 and 23, were faster from 9 to 12 tokens as measured.
  // tests/bench/switch_bench.cpp measures all of them.
  Rows() {
    constexpr int64_t kExactFrom = 12, kRoundedFrom = 32, kBf16From = 16, kFloatsFrom = 8, kE4m3From = 12;
    for (const FormatRows& rows : {kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks}) {
      for (int i = 0; i < rows.n; ++i) {
        FormatEngine row = rows.first[i];
        if (row.tiles.rounded) {
          row.tiles.exact = group_panels;
          row.tiles.exact_from = kExactFrom;
          row.tiles.rounded = int8_panels;
          row.tiles.rounded_from = kRoundedFrom;
        } else {
          row.panels = nullptr;
          row.panels_input = Input::bf16;
          row.panels_from = kBf16From;
          row.tiles.exact = bf16_panels;
          row.tiles.exact_from = 1;
        }
        add(row);
      }
    }
    const auto add_floats = [&](FormatId id, void (*panels)(const PanelCall&), int64_t from) {
      FormatEngine row = row_of(HEARTH_AVX512::engine(), id);
      row.panels_input = Input::bf16;
      row.panels_from = from;
      row.panels = panels;
      add(row);
    };
    add_floats(FormatId::f16, f16_panels, kFloatsFrom);
    add_floats(FormatId::bf16, bf16_weight_panels, kFloatsFrom);
    add_floats(FormatId::f8_e4m3, f8_e4m3_panels, kE4m3From);
    add_floats(FormatId::nvfp4, nvfp4_panels, kFloatsFrom);
  }
};

}  // namespace

const Engine& engine() {
  static const Rows rows;
  static const Engine engine = {{{rows.of, rows.n}, kFloats, kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks},
                                quantize,
                                avx512_bf16::round,
                                silu_product};
  return engine;
}

bool request_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // Linux: arch_prctl(ARCH_REQ_XCOMP_PERM, ..)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

void install(Ops& ops) {
  // Measured: with 16 heads, 256 tokens at a context of 512 take the same time as naive attention in float32. In
  // integers that takes 0.55 of the time (on AVX-512, where it was measured).
  ops.absorbed_speed = [](const Weight& k_b, const Weight& v_b, FormatId cache) {
    return avx512_vnni::attends_in_integers(k_b, v_b, cache) ? 0.9 : 1.6;
  };
  product::install<engine>(ops);
  mla::install<engine, kLatents>(ops);
}

}  // namespace hearth::amx
