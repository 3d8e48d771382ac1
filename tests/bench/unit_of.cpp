#include "tests/bench/unit_of.h"

#ifdef HEARTH_AVX2
#include "kernels/cpu/amx/install.h"
#include "kernels/cpu/avx2/install.h"
#include "kernels/cpu/avx512/install.h"
#endif

namespace hearth::bench {
namespace {

bool there(Unit unit) {
  return unit_peak(unit, 1) > 0;
}

Unit floats_of(std::string_view isa) {
  return isa == "avx2" || isa == "scalar" ? Unit::f32_256 : Unit::f32_512;
}

// By the form in which its kernel wants activations; `int8`: it is one of FormatEngine::tiles.
Unit unit_of_input(std::string_view isa, Input input, bool panels, bool int8) {
  if (input == Input::f32) return floats_of(isa);
  if (input == Input::bf16) return isa == "amx" && panels ? Unit::bf16_tiles : Unit::bf16_pairs;
  if (isa == "amx" && int8) return Unit::int8_tiles;
  if (isa == "avx2") return Unit::byte_pairs_256;
  return isa == "avx512_plain" || !there(Unit::vnni) ? Unit::byte_pairs_512 : Unit::vnni;
}

}  // namespace

const Engine* engine_of(std::string_view isa) {
#ifdef HEARTH_AVX2
  if (isa == "amx") return &amx::engine();
  if (isa == "avx512") return there(Unit::vnni) ? &avx512_vnni::engine() : &avx512::engine();
  if (isa == "avx512_plain") return &avx512::engine();
  if (isa == "avx2") return &avx2::engine();
#else
  (void)isa;
#endif
  return nullptr;
}

Unit unit_of_product(std::string_view isa, FormatId format, double tokens, bool alike) {
  const Engine* const engine = engine_of(isa);
  if (!engine) return floats_of(isa);
  const FormatEngine& row = row_of(*engine, format, alike);
  const bool panels = tokens >= double(row.panels_from);
  // avx512_bf16 overwrites this row of the AVX-512 table where the processor has what it wants.
  const bool pairs = format == FormatId::f8_e4m3 && !panels && !alike && isa.starts_with("avx512") &&
                     isa != "avx512_plain" && there(Unit::bf16_pairs);
  if (pairs) return Unit::bf16_pairs;
  const bool rounded = row.tiles.rounded && tokens >= double(row.tiles.rounded_from) && !alike;
  const bool int8 = panels && (rounded || (row.tiles.exact && tokens >= double(row.tiles.exact_from)));
  return unit_of_input(isa, panels ? row.panels_input : row.rows_input, panels, int8);
}

Unit unit_of_attention(std::string_view isa, bool absorbed) {
  if (isa == "amx" && absorbed) return Unit::bf16_tiles;
  return (isa == "amx" || isa == "avx512") && there(Unit::word_pairs) ? Unit::word_pairs : floats_of(isa);
}

}  // namespace hearth::bench
