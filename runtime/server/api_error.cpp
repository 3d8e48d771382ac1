#include "runtime/server/api_error.h"

#include <cmath>
#include <new>
#include <nlohmann/json.hpp>

#include "runtime/engine/generation.h"

namespace hearth::server {

namespace {

std::string openai_type(const ApiError& error) {
  if (!error.type.empty()) return error.type;
  switch (error.status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
    default:
      return error.status >= 500 ? "server_error" : "invalid_request_error";
  }
}

std::string anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

// Claude Code looks for these words to know that it is to summarise the conversation.
ApiError too_long(Dialect dialect, const ContextOverflow& overflow) {
  ApiError error(400, dialect == Dialect::anthropic
                          ? fmt::format("prompt is too long: {} tokens > {} maximum", overflow.n_prompt, overflow.n_ctx)
                          : overflow.what());
  error.type = "exceed_context_size_error";
  error.code = "context_length_exceeded";
  error.numbers = {{"n_prompt_tokens", overflow.n_prompt}, {"n_ctx", overflow.n_ctx}};
  return error;
}

ApiError too_many(const QueueFull& full) {
  ApiError error(429, full.what());
  error.code = "queue_full";
  error.headers = {{"Retry-After", fmt::format("{:.0f}", std::ceil(std::max(1.0, full.retry_after)))}};
  return error;
}

}  // namespace

void refuse_text(const std::string& param, const std::string& message) {
  ApiError error(400, param.empty() ? message : param + ": " + message);
  error.param = param;
  throw error;
}

ApiError current_error(Dialect dialect) {
  try {
    throw;
  } catch (const ApiError& error) {
    return error;
  } catch (const ContextOverflow& error) {
    return too_long(dialect, error);
  } catch (const QueueFull& error) {
    return too_many(error);
  } catch (const Error& error) {
    return ApiError(error.kind == ErrorKind::usage ? 400 : 500, error.what());
  } catch (const std::bad_alloc&) {
    return ApiError(503, "out of memory");
  } catch (const std::exception& error) {
    return ApiError(500, error.what());
  }
}

Json error_json(Dialect dialect, const ApiError& error) {
  Json inner = {{"type", anthropic_type(error.status)}, {"message", error.what()}};
  if (dialect == Dialect::openai) {
    const auto text_or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
    inner = {{"message", error.what()},
             {"type", openai_type(error)},
             {"param", text_or_null(error.param)},
             {"code", text_or_null(error.code)}};
  }
  for (const auto& [name, number] : error.numbers) inner[name] = number;
  if (dialect == Dialect::openai) return {{"error", std::move(inner)}};
  return {{"type", "error"}, {"error", std::move(inner)}};
}

std::string error_event(Dialect dialect, const ApiError& error) {
  const Json json = error_json(dialect, error);
  return dialect == Dialect::anthropic ? event("error", json) : event(json);
}

HttpResponse error_response(Dialect dialect, const ApiError& error) {
  return {.status = error.status, .body = to_text(error_json(dialect, error)), .headers = error.headers};
}

}  // namespace hearth::server
