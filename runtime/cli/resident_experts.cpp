#include "runtime/cli/resident_experts.h"

#include <charconv>
#include <cmath>

#include "quant/error.h"

namespace hearth::cli {

int64_t parse_resident_experts(std::string_view text, int64_t all) {
  const char* const end = text.data() + text.size();
  double share = 0;
  int64_t count = 0;
  const bool is_share = text.find('.') != std::string_view::npos;
  const auto [rest, error] = is_share ? std::from_chars(text.data(), end, share, std::chars_format::fixed)
                                      : std::from_chars(text.data(), end, count);
  const bool ok = error == std::errc() && rest == end && share >= 0 && share <= 1 && count >= 0 && count <= all;
  require(ok, ErrorKind::usage,
          "--resident-experts: expected 0 to {} experts, or a share from 0.0 to 1.0, found \"{}\"", all, text);
  return is_share ? int64_t(std::llround(share * double(all))) : count;
}

}  // namespace hearth::cli
