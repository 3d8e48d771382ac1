#include "kernels/cpu/amx/install.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "kernels/cpu/amx/floats.h"
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/matmul_tile.h"
#include "kernels/cpu/avx512/install.h"
#include "kernels/cpu/avx512/iqk_decoders.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/matmul.h"

namespace hearth::amx {
namespace {

using namespace HEARTH_AVX512;

// A row of the AVX-512 table whose panels are multiplied in tiles of bfloat16. panels_from was measured by
// tests/bench/switch_bench.cpp on cold weights.
FormatEngine in_tiles(FormatId id, void (*panels)(const PanelCall&), int64_t panels_from) {
  FormatEngine row = row_of(HEARTH_AVX512::engine(), id);
  row.panels_input = Input::bf16;
  row.panels = panels;
  row.panels_from = panels_from;
  return row;
}

// The formats of few bits in tiles of 8 bits, the others in tiles of bfloat16, which keep more of a weight.
struct Rows {
  FormatEngine of[64];
  int n = 0;
  void add(const FormatEngine& row) {
    if (n == int(sizeof of / sizeof of[0])) std::abort();
    of[n++] = row;
  }

  Rows() {
    constexpr int64_t kExactFrom = 3, kRoundedFrom = 32;  // tokens; by counting instructions
    for (const FormatRows& rows : {kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks}) {
      for (int i = 0; i < rows.n; ++i) {
        FormatEngine row = rows.first[i];
        if (!row.tiles.rounded) continue;
        row.tiles.exact = group_panels;
        row.tiles.exact_from = kExactFrom;
        row.tiles.rounded = int8_panels;
        row.tiles.rounded_from = kRoundedFrom;
        add(row);
      }
    }
    add(in_tiles(FormatId::f16, float_panels<F16>, 6));
    add(in_tiles(FormatId::bf16, float_panels<BF16>, 6));
    add(in_tiles(FormatId::f8_e4m3, float_panels<F8_E4M3>, 6));
    add(in_tiles(FormatId::nvfp4, float_panels<NVFP4>, 6));
    add(in_tiles(FormatId::q6_k, tile_panels<Q6_K>, 12));
    add(in_tiles(FormatId::q8_0, tile_panels<Q8_0>, 9));
    add(in_tiles(FormatId::q5_1, tile_panels<Q5_1>, 9));
    add(in_tiles(FormatId::iq6_k, tile_panels<IQ6_K>, 9));
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
