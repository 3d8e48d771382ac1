// What the hub says in the headers of its answers.
#pragma once

#include <cstdint>
#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace hearth::hub {

// The head of an answer: the names of its headers are in small letters.
struct HttpHead {
  int status = 0;
  std::map<std::string, std::string> headers;

  std::string header(const std::string& name) const;  // "": it has none of this name
};

// Bytes `first` to `last`, both included, of `size` altogether.
struct ContentRange {
  uint64_t first = 0, last = 0, size = 0;
  bool operator==(const ContentRange&) const = default;
};

// "bytes 0-99/1234" (RFC 9110, section 14.4). Nothing: it is not of that form, or contradicts itself.
std::optional<ContentRange> parse_content_range(std::string_view text);

// A decimal number of at most 19 digits and nothing else.
std::optional<uint64_t> parse_number(std::string_view text);

// The address of the next page in a Link header (RFC 8288), "<https://...>; rel=\"next\"". "": there is none.
std::string next_page(std::string_view link);

// An entity tag without W/ and quotes.
std::string bare_etag(std::string_view text);

// For how many seconds the hub wants to be left alone: Retry-After, as a number or a date (RFC 9110, section 10.2.3),
// else what a used-up RateLimit says, `"api";r=0;t=55` (draft-ietf-httpapi-ratelimit-headers). Nothing: it does not
// say.
std::optional<uint64_t> seconds_to_wait(const HttpHead& head, std::time_t now);

}  // namespace hearth::hub
