// References among schemas (RFC 3986, section 5).
#pragma once

#include <string>
#include <string_view>

namespace hearth::grammar {

std::string resolve_uri(std::string_view base, std::string_view reference);
std::string percent_decoded(std::string_view text);

}  // namespace hearth::grammar
