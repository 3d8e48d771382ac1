#include "kernels/cpu/amx/install.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/amx/floats.h"
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/matmul_tile.h"
#include "kernels/cpu/avx512/codebook_decoders.h"
#include "kernels/cpu/avx512/install.h"
#include "kernels/cpu/avx512/iqk_decoders.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/matmul.h"

namespace hearth::amx {
namespace {

using namespace HEARTH_AVX512;

// A row of the AVX-512 table whose panels are multiplied in tiles. panels_from was measured by
// tests/bench/switch_bench.cpp on cold weights.
FormatEngine in_tiles(FormatId id, void (*panels)(const PanelCall&), int64_t panels_from = 9) {
  FormatEngine row = row_of(HEARTH_AVX512::engine(), id);
  row.panels_input = Input::bf16;
  row.panels = panels;
  row.panels_from = panels_from;
  return row;
}

}  // namespace

const Engine& engine() {
  static const FormatEngine rows[] = {
      in_tiles(FormatId::f16, float_panels<F16>, 6),         in_tiles(FormatId::bf16, float_panels<BF16>, 6),
      in_tiles(FormatId::f8_e4m3, float_panels<F8_E4M3>, 6), in_tiles(FormatId::q2_k, tile_panels<Q2_K>),
      in_tiles(FormatId::q3_k, tile_panels<Q3_K>),           in_tiles(FormatId::q4_k, tile_panels<Q4_K>),
      in_tiles(FormatId::q5_k, tile_panels<Q5_K>, 12),       in_tiles(FormatId::q6_k, tile_panels<Q6_K>, 12),
      in_tiles(FormatId::iq4_xs, tile_panels<IQ4_XS>),       in_tiles(FormatId::q4_0, tile_panels<Q4_0>),
      in_tiles(FormatId::q4_1, tile_panels<Q4_1>),           in_tiles(FormatId::q5_0, tile_panels<Q5_0>),
      in_tiles(FormatId::q5_1, tile_panels<Q5_1>),           in_tiles(FormatId::q8_0, tile_panels<Q8_0>),
      in_tiles(FormatId::iq4_nl, tile_panels<IQ4_NL>),       in_tiles(FormatId::i4_g128, tile_panels<I4_G128>),
      in_tiles(FormatId::tq2_0, tile_panels<TQ2_0>),         in_tiles(FormatId::iq2_xxs, tile_panels<IQ2_XXS>),
      in_tiles(FormatId::iq2_xs, tile_panels<IQ2_XS>),       in_tiles(FormatId::iq2_s, tile_panels<IQ2_S>),
      in_tiles(FormatId::iq3_xxs, tile_panels<IQ3_XXS>),     in_tiles(FormatId::iq3_s, tile_panels<IQ3_S>),
      in_tiles(FormatId::iq1_s, tile_panels<IQ1_S>),         in_tiles(FormatId::iq1_m, tile_panels<IQ1_M>),
      in_tiles(FormatId::tq1_0, tile_panels<TQ1_0>),         in_tiles(FormatId::mxfp4, tile_panels<MXFP4>),
      in_tiles(FormatId::nvfp4, float_panels<NVFP4>, 6),     in_tiles(FormatId::iq2_k, tile_panels<IQ2_K>),
      in_tiles(FormatId::iq3_k, tile_panels<IQ3_K>),         in_tiles(FormatId::iq4_k, tile_panels<IQ4_K>),
      in_tiles(FormatId::iq5_k, tile_panels<IQ5_K>),         in_tiles(FormatId::iq6_k, tile_panels<IQ6_K>),
      in_tiles(FormatId::iq2_ks, tile_panels<IQ2_KS>),       in_tiles(FormatId::iq3_ks, tile_panels<IQ3_KS>),
      in_tiles(FormatId::iq4_ks, tile_panels<IQ4_KS>),       in_tiles(FormatId::iq5_ks, tile_panels<IQ5_KS>),
  };
  constexpr int kRows = int(sizeof rows / sizeof rows[0]);
  static const Engine engine = {{{rows, kRows}, kFloats, kLargeBlocks, kSmallBlocks, kCodebooks, kIqkBlocks},
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
  ops.absorbed_speed = 1.6;  // measured: with 16 heads, 256 tokens at a context of 512 take the same time either way
  product::install<engine>(ops);
  mla::install<engine, kLatents>(ops);
}

}  // namespace hearth::amx
