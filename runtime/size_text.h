// Sizes of memory as people write them. As for memory modules and graphics cards, G is 2^30 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hearth {

// "16G", "1.5G", "800M", "0.5T", "65536K", or bytes: "1048576". Throws Error(usage) naming `option`.
uint64_t parse_size(std::string_view text, std::string_view option);

// "15.9 GiB", "800 MiB", "12 KiB", "7 B"
std::string binary_size_text(uint64_t bytes);

}  // namespace hearth
