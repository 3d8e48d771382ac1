// --resident-experts, as people type it.
#pragma once

#include <cstdint>
#include <string_view>

namespace hearth::cli {

// A count, or with a point in it a share of `all` of them. Throws Error(usage).
int64_t parse_resident_experts(std::string_view text, int64_t all);

}  // namespace hearth::cli
