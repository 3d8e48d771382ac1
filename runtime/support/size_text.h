// Sizes and counts as people write them. As for memory modules and graphics cards, G is 2^30 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hearth {

// "16G", "16GB" and "16GiB" are the same, also in lower case and with blanks: "1.5g", "800 M", "0.5T", "65536K", or
// bytes: "1048576". Throws Error(usage) naming `option`.
uint64_t parse_size(std::string_view text, std::string_view option);

// A number of tokens: "4096", "4k" (4096), "1M" (2^20). Throws Error(usage) naming `option`: none, or not within
// [least, most].
int64_t parse_token_count(std::string_view text, std::string_view option, int64_t least, int64_t most);

// "15.9 GiB", "800 MiB", "12 KiB", "7 B"
std::string binary_size_text(uint64_t bytes);

// A speed or a bandwidth with about three digits, as people read it: "0.012", "1.28", "12.8", "128", "1280".
std::string figure_text(double value);

}  // namespace hearth
