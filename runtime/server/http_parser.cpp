// The one file that knows Boost.Beast, which cuts the bytes into fields and chunks. What a field means is decided here.
#include "runtime/server/http_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/status.hpp>
#include <limits>
#include <optional>

#include "runtime/server/http_text.h"

namespace hearth::server {

namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

namespace {

std::string_view view(string_view text) {
  return {text.data(), text.size()};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "a%20b" -> "a b". Nothing for an escape that is none, and for control characters, which no path has.
std::optional<std::string> decoded(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = char(high * 16 + low);
      i += 2;
    }
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) return std::nullopt;
    plain += c;
  }
  return plain;
}

// HTTP no longer has it, and programs differ in how they read it.
bool is_folded(std::string_view fields) {
  return fields.find("\r\n ") != std::string_view::npos || fields.find("\r\n\t") != std::string_view::npos;
}

// Of fields that may come several times, the values are one list; of these there is one.
bool is_single(http::field name) {
  switch (name) {
    case http::field::host:
    case http::field::content_length:
    case http::field::content_type:
    case http::field::transfer_encoding:
    case http::field::authorization:
    case http::field::origin:
    case http::field::expect:
      return true;
    default:
      return false;
  }
}

}  // namespace

class HttpParser::Impl final : public http::basic_parser<true> {
 public:
  Impl(size_t header_bytes, size_t body_bytes) : header_bytes_(header_bytes), body_bytes_(body_bytes) {
    header_limit(uint32_t(std::min<size_t>(header_bytes, std::numeric_limits<uint32_t>::max())));
    body_limit(std::numeric_limits<uint64_t>::max());  // we look ourselves, and say which
  }

  size_t take(std::string_view bytes) {
    size_t taken = 0;
    // Some clients send an empty line behind a body.
    while (!got_some() && bytes.substr(taken).starts_with("\r\n")) taken += 2;
    if (!got_some() && (bytes.size() == taken || bytes.substr(taken) == "\r")) return taken;
    while (stage == Stage::header || stage == Stage::body) {
      // The last chunk has five bytes at least, so fewer are never the rest of a body. Beast counts on it: shown fewer,
      // it stumbles over an assertion.
      if (stage == Stage::body && chunked() && bytes.size() - taken < 5) break;
      error_code error;
      const Stage before = stage;
      const size_t n = put({bytes.data() + taken, bytes.size() - taken}, error);
      const std::string_view understood = bytes.substr(taken, n);
      taken += n;
      if (before == Stage::header && stage != Stage::refused && is_folded(understood))
        refuse(400, "the header has a line that continues the one before");
      if (error == http::error::need_more) {
        // The size of a chunk and the trailer are taken whole.
        if (stage == Stage::body && bytes.size() - taken > header_bytes_)
          refuse(400, fmt::format("a chunk's header, or the trailer, is longer than {} bytes", header_bytes_));
        break;
      }
      if (error && stage != Stage::refused) refuse_bytes(error);
      if (error || stage != before || taken == bytes.size()) break;
    }
    return taken;
  }

  Stage stage = Stage::header;
  HttpRefusal refusal;
  HttpRequest request;
  bool expects_continue = false, has_body = false, http_1_1 = false;

 private:
  void refuse(int status, std::string message) {
    stage = Stage::refused;
    refusal = {status, std::move(message)};
  }
  void refuse(int status, std::string message, error_code& error) {
    refuse(status, std::move(message));
    error = http::error::bad_value;  // any: it ends the parsing
  }
  void refuse_bytes(error_code& error) {
    if (error == http::error::header_limit)
      refuse(431, fmt::format("the header is longer than {} bytes", header_bytes_));
    else if (error == http::error::body_limit)
      refuse_body("more", error);  // the sizes of chunks add up to more than a number holds
    else
      refuse(400, fmt::format("this is not a request of HTTP/1.1: {}", error.message()));
  }
  void refuse_body(const std::string& found, error_code& error) {
    refuse(413, fmt::format("the body is too large: expected at most {} bytes, found {}", body_bytes_, found), error);
  }

  void on_request_impl(http::verb, string_view method, string_view target, int version, error_code& error) override {
    request.method = std::string(method);
    http_1_1 = version == 11;
    std::string_view text = view(target);
    // As one asks a proxy; the Host field says the same, or it is refused below.
    if (text.starts_with("http://")) {
      const size_t path = std::min(text.find_first_of("/?", 7), text.size());
      target_host_ = small_letters(text.substr(7, path - 7));
      text.remove_prefix(path);
      if (text.empty()) text = "/";
    }
    const bool star = text == "*" && request.method == "OPTIONS";
    const size_t question = std::min(text.find('?'), text.size());
    const auto path = decoded(text.substr(0, question));
    if (!path || (!text.starts_with('/') && !star))
      return refuse(400, "the request's path: expected /..., with %XX for other characters", error);
    request.path = *path;
    if (question < text.size()) request.query = std::string(text.substr(question + 1));
  }

  void on_field_impl(http::field name, string_view name_text, string_view value, error_code& error) override {
    if (stage == Stage::body) return;  // of the trailer, which nobody here asked for
    const bool number = std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (name == http::field::content_length && !number) return refuse(400, "Content-Length: expected a number", error);
    const auto [found, first] = request.headers.try_emplace(small_letters(view(name_text)), value);
    if (first) return;
    if (is_single(name)) return refuse(400, fmt::format("the header has {} twice", found->first), error);
    found->second += ", " + std::string(value);
  }

  void on_header_impl(error_code& error) override {
    if (http_1_1 && !request.headers.contains("host")) return refuse(400, "the header has no Host", error);
    if (target_host_ && *target_host_ != small_letters(request.header("host")))
      return refuse(400, "the address asked for and Host differ", error);
    if (request.headers.contains("transfer-encoding")) {
      if (!http_1_1) return refuse(400, "HTTP/1.0 has no Transfer-Encoding", error);
      if (small_letters(request.header("transfer-encoding")) != "chunked")
        return refuse(501, "Transfer-Encoding: expected chunked", error);
    }
    const uint64_t length = content_length_of_header();
    if (length > body_bytes_) return refuse_body(std::to_string(length), error);
    if (request.headers.contains("expect")) {
      if (small_letters(request.header("expect")) != "100-continue")
        return refuse(417, "Expect: expected 100-continue", error);
      expects_continue = http_1_1;
    }
    has_body = chunked() || length > 0;
    stage = Stage::body;
  }

  // Beast has checked that it is a number.
  uint64_t content_length_of_header() const {
    const auto found = request.headers.find("content-length");
    return found == request.headers.end() ? 0 : std::strtoull(found->second.c_str(), nullptr, 10);
  }

  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  size_t on_body_impl(string_view bytes, error_code&) override {
    request.body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(uint64_t size, string_view, error_code& error) override {
    if (size > body_bytes_ - request.body.size()) refuse_body("more", error);
  }
  size_t on_chunk_body_impl(uint64_t, string_view bytes, error_code& error) override {
    return on_body_impl(bytes, error);
  }
  void on_finish_impl(error_code&) override { stage = Stage::done; }
  void on_response_impl(int, string_view, int, error_code&) override {}  // never called: of answers

  const size_t header_bytes_, body_bytes_;
  std::optional<std::string> target_host_;
};

HttpParser::HttpParser(size_t header_bytes, size_t body_bytes)
    : impl_(std::make_unique<Impl>(header_bytes, body_bytes)) {}
HttpParser::~HttpParser() = default;

size_t HttpParser::take(std::string_view bytes) {
  return impl_->take(bytes);
}
HttpParser::Stage HttpParser::stage() const {
  return impl_->stage;
}
const HttpRefusal& HttpParser::refusal() const {
  return impl_->refusal;
}
HttpRequest& HttpParser::request() {
  return impl_->request;
}
bool HttpParser::has_body() const {
  return impl_->has_body;
}
bool HttpParser::keeps_alive() const {
  return impl_->http_1_1 && impl_->is_header_done() && impl_->keep_alive();
}
bool HttpParser::is_http_1_1() const {
  return impl_->http_1_1;
}
bool HttpParser::expects_continue() const {
  return impl_->expects_continue;
}

std::string_view http_reason(int status) {
  return view(http::obsolete_reason(http::int_to_status(unsigned(status))));
}

}  // namespace hearth::server
