// What a refusal of the HTTP room looks like.
#pragma once

#include <functional>
#include <string>

namespace hearth::server {

// The body, JSON, of an answer that is no success. `path`: what was asked for; empty where that was not understood.
using ErrorBody = std::function<std::string(int status, const std::string& message, const std::string& path)>;

// As OpenAI's clients read it: {"error": {"code", "message", "type"}}.
std::string openai_error_body(int status, const std::string& message, const std::string& path);

}  // namespace hearth::server
