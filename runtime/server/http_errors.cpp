#include "runtime/server/http_errors.h"

#include <nlohmann/json.hpp>

namespace hearth::server {

namespace {

const char* error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "unavailable_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace

std::string openai_error_body(int status, const std::string& message, const std::string&) {
  using Json = nlohmann::ordered_json;
  const Json body = {{"error", {{"code", status}, {"message", message}, {"type", error_type(status)}}}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);  // a message may quote what is no UTF-8
}

}  // namespace hearth::server
