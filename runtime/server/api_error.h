// What a client is told when it does not get what it asked for, in the words of the protocol it speaks.
#pragma once

#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "quant/error.h"
#include "runtime/server/api_json.h"
#include "runtime/server/http.h"

namespace hearth::server {

enum class Dialect { openai, anthropic };

struct ApiError : Error {
  explicit ApiError(int status, const std::string& message) : Error(ErrorKind::usage, message), status(status) {}

  int status;
  std::string type = {};  // OpenAI's word; empty: as the status says
  std::string param = {}, code = {};
  HttpHeaders headers = {};
  std::vector<std::pair<std::string, int64_t>> numbers = {};  // further members
};

// 400, which names the parameter. An empty `param`: the body as a whole.
[[noreturn]] void refuse_text(const std::string& param, const std::string& message);
template <class... Args>
[[noreturn]] void refuse(const std::string& param, fmt::format_string<Args...> format, Args&&... args) {
  refuse_text(param, fmt::format(format, std::forward<Args>(args)...));
}

// The exception being handled, as a client is to see it: what a request may be blamed for is 400, 429 or 503, the rest
// 500.
ApiError current_error(Dialect dialect);

Json error_json(Dialect dialect, const ApiError& error);
std::string error_event(Dialect dialect, const ApiError& error);  // in a stream
HttpResponse error_response(Dialect dialect, const ApiError& error);

}  // namespace hearth::server
