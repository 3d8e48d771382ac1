// Descriptions of tools, as chat templates and system messages need them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace hearth {

// The function that a tool's JSON text describes, alone or inside {"type": "function", "function": ...}; the order of
// keys is kept. Throws Error(usage).
nlohmann::ordered_json parse_tool(const std::string& text);

}  // namespace hearth
