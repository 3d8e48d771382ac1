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

// Of memory: "15.9 GiB", "800 MiB", "12.0 KiB", "7 B"
std::string binary_size_text(uint64_t bytes);
// Of files, and of what moves, in powers of ten as disks and bandwidths are counted: "9.62 GB", "800 MB", "12.0 kB", "7
// B"
std::string decimal_size_text(double bytes);
// How many: "15.7 G", "800 M", "12.0 k", "7"
std::string count_text(double count);
// "0:07", "1:02:30"
std::string duration_text(double seconds);

// A speed or a bandwidth with about three digits, as people read it: "0.012", "1.28", "12.8", "128", "1280".
std::string figure_text(double value);

}  // namespace hearth
