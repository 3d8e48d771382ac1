// JSON as requests bring it and answers are written in it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace hearth::server {

using Json = nlohmann::ordered_json;  // arguments of calls and members of templates keep their order

// A request's body, which must be an object. Throws ApiError(400) in words: what is no JSON or no UTF-8, numbers that
// nothing holds, names that come twice, nesting deeper than anybody needs (what reads JSON recurses).
Json parse_body(std::string_view body);

// In one line; always well-formed UTF-8.
std::string to_text(const Json& json);

// An event of a stream (Server-Sent Events), without and with a name.
std::string event(const Json& data);
std::string event(std::string_view name, const Json& data);

// "a string", "the number 1.5", "a list": what was found instead, for errors.
std::string kind_of(const Json& json);

}  // namespace hearth::server
