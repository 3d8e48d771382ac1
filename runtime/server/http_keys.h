// API keys: where they come from, and how one is looked for among them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hearth::server {

// One key a line; empty lines and those that begin with # are none. Throws Error(file) where the file cannot be read,
// Error(usage) for a file without keys, and for a line that no header could carry. Keys are in no message.
std::vector<std::string> read_api_keys(const std::string& path);

// How long it takes depends on the length of `found` alone, which who asks knows.
bool equal_in_constant_time(std::string_view expected, std::string_view found);

// Looks at all keys, whichever it is.
bool is_one_of(const std::vector<std::string>& keys, std::string_view found);

}  // namespace hearth::server
