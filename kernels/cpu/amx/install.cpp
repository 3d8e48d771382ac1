#include "kernels/cpu/amx/install.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/amx/kernels.h"
#include "kernels/cpu/amx/panels.h"
#include "kernels/cpu/avx512/kernels.h"
#include "kernels/cpu/product.h"

namespace hearth::amx {
namespace {

using namespace HEARTH_AVX512;

void round(const float* x, int64_t n, uint16_t* out) {
  alignas(64) static constexpr auto kOrder = [] {
    struct {
      uint16_t pick[64];
    } order{};
    for (int i = 0; i < 64; ++i) order.pick[bf16_place(i)] = uint16_t(i);
    return order;
  }();
  for (int64_t at = 0; at < n; at += 64) {
    __m512 v[4];
    HEARTH_UNROLL for (int i = 0; i < 4; ++i) {
      const int64_t left = n - at - 16 * i;
      const __mmask16 there = left >= 16 ? __mmask16(0xffff) : left <= 0 ? __mmask16(0) : __mmask16((1 << left) - 1);
      v[i] = _mm512_maskz_loadu_ps(there, x + at + 16 * i);
    }
    const __m512i low = __m512i(_mm512_cvtne2ps_pbh(v[1], v[0])), high = __m512i(_mm512_cvtne2ps_pbh(v[3], v[2]));
    _mm512_storeu_si512(out + at, _mm512_permutex2var_epi16(low, _mm512_load_si512(kOrder.pick), high));
    _mm512_storeu_si512(out + at + 32, _mm512_permutex2var_epi16(low, _mm512_load_si512(kOrder.pick + 32), high));
  }
}

const Engine& engine() {
  static const FormatEngine formats[] = {
      kFloats[0],
      kFloats[1],
      kFloats[2],
      kFloats[3],
#define HEARTH_TILES(base, Format) \
  {base.id, base.rows_input, Input::bf16, {base.rows[0], base.rows[1], base.rows[2]}, tile_panels<Format>, 8}
      HEARTH_TILES(kLargeBlocks[0], Q2_K),
      HEARTH_TILES(kLargeBlocks[1], Q3_K),
      HEARTH_TILES(kLargeBlocks[2], Q4_K),
      HEARTH_TILES(kLargeBlocks[3], Q5_K),
      HEARTH_TILES(kLargeBlocks[4], Q6_K),
      HEARTH_TILES(kLargeBlocks[5], IQ4_XS),
      HEARTH_TILES(kSmallBlocks[0], Q4_0),
      HEARTH_TILES(kSmallBlocks[1], Q4_1),
      HEARTH_TILES(kSmallBlocks[2], Q5_0),
      HEARTH_TILES(kSmallBlocks[3], Q5_1),
      HEARTH_TILES(kSmallBlocks[4], Q8_0),
      HEARTH_TILES(kSmallBlocks[5], IQ4_NL),
      HEARTH_TILES(kSmallBlocks[6], I4_G128),
#undef HEARTH_TILES
  };
  static const Engine engine = {formats, int(sizeof formats / sizeof formats[0]), quantize, round, silu_product};
  return engine;
}

void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y) {
  product::matmul(engine(), exec, w, x, y);
}
void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y) {
  product::matmul_heads(engine(), exec, w, x, y);
}
void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y) {
  product::ffn(engine(), exec, w, x, y);
}
void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y) {
  product::moe_ffn(engine(), exec, experts, shared, ids, weights, n_activated, x, y);
}

size_t (*inherited_scratch)(const ScratchLimits&) = nullptr;  // of the operations that stay as they were

size_t scratch_bytes(const ScratchLimits& limits) {
  const size_t own = latent::scratch_bytes(limits, latent_work(limits)), inherited = inherited_scratch(limits);
  return own > inherited ? own : inherited;
}

void mla_attend(const Exec& exec, Heads<const float> q_c, Heads<const float> q_rope, const LatentCache& cache,
                int64_t pos0, float scale, Heads<float> o_c) {
  ScratchLimits limits;
  limits.kv_lora_rank = cache.kv_lora_rank;
  limits.qk_rope_head_dim = cache.rope_dim;
  latent::mla_attend(attend_latents, latent_work(limits), exec, q_c, q_rope, cache, pos0, scale, o_c);
}

}  // namespace

bool request_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // Linux: arch_prctl(ARCH_REQ_XCOMP_PERM, ..)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

void install(Ops& ops) {
  inherited_scratch = ops.scratch_bytes;
  ops.scratch_bytes = scratch_bytes;
  ops.mla_attend = mla_attend;
  ops.absorbed_speed = 5;  // measured with V2-Lite's widths at 512 and 1024 positions
  ops.matmul = matmul;
  ops.matmul_heads = matmul_heads;
  ops.ffn = ffn;
  ops.moe_ffn = moe_ffn;
}

}  // namespace hearth::amx
