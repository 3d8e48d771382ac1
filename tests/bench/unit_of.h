// With which unit of the processor a table of kernels multiplies.
#pragma once

#include <string_view>

#include "kernels/cpu/engine.h"
#include "tests/bench/unit_peaks.h"

namespace hearth::bench {

// The engine of a table by its name (kernels/cpu/backend.h); null: scalar has none.
const Engine* engine_of(std::string_view isa);

// Products with weights of a format, so many tokens to a matrix; `alike`: Exec::alike.
Unit unit_of_product(std::string_view isa, FormatId format, double tokens, bool alike = false);

// absorbed_attend and mha_attend over a bfloat16 cache with integer weights.
Unit unit_of_attention(std::string_view isa, bool absorbed);

}  // namespace hearth::bench
