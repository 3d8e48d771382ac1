#include "kernels/cpu/amx/install.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/amx/floats.h"
#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/panels.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/product.h"

namespace hearth::amx {
namespace {

using namespace HEARTH_AVX512;

// The rows of the AVX-512 table, with panels in tiles.
// panels_from: tests/bench/switch_bench.cpp on cold weights.
FormatEngine in_tiles(FormatEngine f, void (*panels)(const PanelCall&), int64_t panels_from = 9) {
  f.panels_input = Input::bf16;
  f.panels = panels;
  f.panels_from = panels_from;
  return f;
}

}  // namespace

const Engine& engine() {
  static const FormatEngine formats[] = {
      kFloats[0],
      in_tiles(kFloats[1], float_panels<F16>, 6),
      in_tiles(kFloats[2], float_panels<BF16>, 6),
      in_tiles(kFloats[3], float_panels<F8_E4M3>, 6),
      in_tiles(kLargeBlocks[0], tile_panels<Q2_K>),
      in_tiles(kLargeBlocks[1], tile_panels<Q3_K>),
      in_tiles(kLargeBlocks[2], tile_panels<Q4_K>),
      in_tiles(kLargeBlocks[3], tile_panels<Q5_K>, 12),
      in_tiles(kLargeBlocks[4], tile_panels<Q6_K>, 12),
      in_tiles(kLargeBlocks[5], tile_panels<IQ4_XS>),
      in_tiles(kSmallBlocks[0], tile_panels<Q4_0>),
      in_tiles(kSmallBlocks[1], tile_panels<Q4_1>),
      in_tiles(kSmallBlocks[2], tile_panels<Q5_0>),
      in_tiles(kSmallBlocks[3], tile_panels<Q5_1>),
      in_tiles(kSmallBlocks[4], tile_panels<Q8_0>),
      in_tiles(kSmallBlocks[5], tile_panels<IQ4_NL>),
      in_tiles(kSmallBlocks[6], tile_panels<I4_G128>),
  };
  static const Engine engine = {formats, int(sizeof formats / sizeof formats[0]), quantize, avx512_bf16::round,
                                silu_product};
  return engine;
}

namespace {

size_t (*inherited_scratch)(const ScratchLimits&) = nullptr;  // of the operations that stay as they were

size_t scratch_bytes(const ScratchLimits& limits) {
  const size_t own = latent::scratch_bytes(kLatents, limits), inherited = inherited_scratch(limits);
  return own > inherited ? own : inherited;
}

}  // namespace

bool request_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // Linux: arch_prctl(ARCH_REQ_XCOMP_PERM, ..)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

void install(Ops& ops) {
  inherited_scratch = ops.scratch_bytes;
  ops.scratch_bytes = scratch_bytes;
  ops.absorbed_speed = 1.6;  // 256 tokens at a context of 512 take the same time either way, with 16 heads
  product::install<engine>(ops);
  latent::install<engine, kLatents>(ops);
}

}  // namespace hearth::amx
