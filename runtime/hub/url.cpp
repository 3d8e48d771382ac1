#include "runtime/hub/url.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <memory>

#include "quant/error.h"

namespace hearth::hub {
namespace {

constexpr size_t kLongest = 16 << 10;

struct UrlFree {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using UrlHandle = std::unique_ptr<CURLU, UrlFree>;

std::string part(CURLU* url, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, flags) != CURLUE_OK || !text) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

bool printable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

UrlHandle parsed(const std::string& url) {
  UrlHandle handle(curl_url());
  require(handle != nullptr, ErrorKind::resource, "out of memory");
  const bool good = url.size() <= kLongest && printable(url) &&
                    curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0) == CURLUE_OK;
  const std::string scheme = good ? part(handle.get(), CURLUPART_SCHEME) : "";
  require(scheme == "http" || scheme == "https", ErrorKind::format, "expected an address of http or https, found {}",
          good ? scheme + ":" : "none");
  require(part(handle.get(), CURLUPART_USER).empty() && part(handle.get(), CURLUPART_PASSWORD).empty(),
          ErrorKind::format, "expected an address without a user's name and password");
  return handle;
}

std::string host_in(CURLU* url) {
  std::string host = part(url, CURLUPART_HOST);
  std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return host;
}

}  // namespace

std::string origin_of(const std::string& url) {
  const UrlHandle handle = parsed(url);
  return part(handle.get(), CURLUPART_SCHEME) + "://" + host_in(handle.get()) + ":" +
         part(handle.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::string host_of(const std::string& url) {
  return host_in(parsed(url).get());
}

bool is_loopback(const std::string& url) {
  const std::string host = host_of(url);
  const bool v4 = host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
  return v4 || host == "localhost" || host == "[::1]";
}

std::string follow(const std::string& url, const std::string& location) {
  const UrlHandle from = parsed(url);
  const bool secure = part(from.get(), CURLUPART_SCHEME) == "https";
  const bool good = location.size() <= kLongest && printable(location) &&
                    curl_url_set(from.get(), CURLUPART_URL, location.c_str(), 0) == CURLUE_OK;
  require(good, ErrorKind::format, "the hub redirects to what is no address of http or https");
  const std::string to = part(from.get(), CURLUPART_URL);
  const std::string origin = origin_of(to);
  require(!secure || origin.starts_with("https:"), ErrorKind::format,
          "the hub redirects from https to http, at {}: nothing is fetched without encryption there", host_of(to));
  return to;
}

std::string percent_encoded(std::string_view text, bool keep_slashes) {
  constexpr std::string_view kPlain = "-._~";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = byte < 0x80 && (std::isalnum(byte) || kPlain.find(c) != std::string_view::npos);
    if (plain || (keep_slashes && c == '/'))
      out += c;
    else
      out += fmt::format("%{:02X}", byte);
  }
  return out;
}

}  // namespace hearth::hub
