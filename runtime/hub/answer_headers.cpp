#include "runtime/hub/answer_headers.h"

#include <curl/curl.h>

#include <charconv>

namespace hearth::hub {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

// The number behind `name` in "r=0;t=55".
std::optional<uint64_t> parameter(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const size_t end = text.find(';');
    const std::string_view item = trimmed(text.substr(0, end));
    if (item.starts_with(name) && item.substr(name.size()).starts_with('='))
      return parse_number(item.substr(name.size() + 1));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return std::nullopt;
}

}  // namespace

std::string HttpHead::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  constexpr size_t kMostDigits = 19;  // below 2^64
  uint64_t number = 0;
  if (text.empty() || text.size() > kMostDigits) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  text = trimmed(text);
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  const size_t dash = text.find('-'), slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) return std::nullopt;
  const auto first = parse_number(text.substr(0, dash)), last = parse_number(text.substr(dash + 1, slash - dash - 1)),
             size = parse_number(text.substr(slash + 1));
  if (!first || !last || !size || *first > *last || *last >= *size) return std::nullopt;
  return ContentRange{*first, *last, *size};
}

std::string next_page(std::string_view link) {
  while (!link.empty()) {
    const size_t open = link.find('<'), close = link.find('>', open == std::string_view::npos ? 0 : open);
    if (open == std::string_view::npos || close == std::string_view::npos) return "";
    const std::string_view address = link.substr(open + 1, close - open - 1);
    link.remove_prefix(close + 1);
    const size_t next = link.find('<');
    const std::string_view about = link.substr(0, next);
    if (about.find("rel=\"next\"") != std::string_view::npos || about.find("rel=next") != std::string_view::npos)
      return std::string(address);
    link = next == std::string_view::npos ? std::string_view() : link.substr(next);
  }
  return "";
}

std::string bare_etag(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with("W/")) text.remove_prefix(2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return std::string(text);
}

std::optional<uint64_t> seconds_to_wait(const HttpHead& head, std::time_t now) {
  if (const std::string after(trimmed(head.header("retry-after"))); !after.empty()) {
    if (const auto seconds = parse_number(after)) return seconds;
    const std::time_t date = curl_getdate(after.c_str(), nullptr);
    if (date >= 0) return date > now ? uint64_t(date - now) : 0;
  }
  const std::string limit = head.header("ratelimit");
  if (parameter(limit, "r") == std::optional<uint64_t>(0)) return parameter(limit, "t");
  return std::nullopt;
}

}  // namespace hearth::hub
