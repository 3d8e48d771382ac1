// Which functions a request offers to the model, and whether it may call them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/server/answer_task.h"
#include "runtime/server/api_fields.h"
#include "runtime/server/parameters.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

struct ToolWishes {
  std::vector<std::string> tools;           // JSON: {"name", "description", "parameters"}
  std::vector<std::string> names, schemas;  // of their arguments
  std::vector<bool> strict;                 // whether arguments must satisfy them, even where the model may choose
  bool may_call = true;                     // tool_choice is not none
  bool must_call = false;
  std::string only = {};  // the function that must be called; "": any
  bool one_only = false;  // no calls beside the first
};

// Reads `tools`, `tool_choice` and what forbids parallel calls, in the endpoint's words. Of tools that a service would
// run itself (web search, pictures) those are dropped that clients offer to everybody. Throws ApiError(400) by the
// place of what is no function, of names that come twice, and of a tool_choice that names none of them.
ToolWishes read_tools(const Fields& body, Endpoint endpoint);

// The prompt announces the tools, and calls are looked for in the answer. A model that may not call is told of none.
void add_tools(const ToolWishes& wishes, const ServedModel& model, ChatOptions& options, AnswerTask& task);

}  // namespace hearth::server
