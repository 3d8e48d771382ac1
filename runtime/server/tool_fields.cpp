#include "runtime/server/tool_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "runtime/server/api_error.h"

namespace hearth::server {

namespace {

constexpr size_t kMostTools = 1000;
constexpr size_t kLongestName = 128;
constexpr float kNever = -100;  // logit bias

// Names stand in the prompt and in what models write between marks and quotes.
std::string read_name(const Fields& function) {
  const std::string name = function.required_text("name");
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-.:/").find(c) != std::string_view::npos;
  };
  if (name.empty() || name.size() > kLongestName || !std::ranges::all_of(name, fits))
    refuse(function.path("name"), "expected 1 to {} letters, digits and any of _-.:/, found {}", kLongestName,
           to_text(name.substr(0, 100)));
  return name;
}

// A function in the words of chat templates; nothing: a tool that nobody here runs, and that need not be there.
struct Tool {
  Json json;
  bool strict = false;
};
std::optional<Tool> read_tool(const Fields& tool, Endpoint endpoint) {
  const bool anthropic = endpoint == Endpoint::messages;
  const std::string type = anthropic ? tool.text("type").value_or("custom") : tool.required_text("type");
  if (endpoint == Endpoint::responses && type != "function" && type != "custom") return std::nullopt;
  for (const char* run_by_service : {"web_search", "web_fetch", "code_execution"})
    if (anthropic && type.starts_with(run_by_service)) return std::nullopt;
  if (type != (anthropic ? "custom" : "function"))
    refuse(tool.path("type"), "expected {}, found {}: other tools are not supported",
           anthropic ? "none or custom" : "function", to_text(type.substr(0, 100)));
  const std::optional<Fields> inside = endpoint == Endpoint::chat ? tool.object("function") : std::nullopt;
  if (endpoint == Endpoint::chat && !inside) refuse(tool.path("function"), "expected an object, found none");
  const Fields& function = inside ? *inside : tool;
  Json json = {{"name", read_name(function)}};
  if (const auto description = function.text("description")) json["description"] = *description;
  if (const auto schema = function.object(anthropic ? "input_schema" : "parameters")) {
    // Nothing else can be written as arguments.
    const Json* const kind = schema->find("type");
    if (kind && *kind != "object")
      refuse(schema->path("type"), "expected object, found {}", to_text(*kind).substr(0, 100));
    json["parameters"] = schema->json();
  }
  const bool strict = function.flag("strict").value_or(false);
  return Tool{std::move(json), strict};
}

// The model is told of these tools alone, and may call no others.
void keep_only(const Json& named, const std::string& path, ToolWishes& wishes) {
  std::vector<bool> keep(wishes.names.size());
  for (size_t i = 0; i < named.size(); ++i) {
    const Fields tool(named[i], path_of(path, i));
    if (const std::string type = tool.required_text("type"); type != "function")
      refuse(tool.path("type"), "expected function, found {}", to_text(type.substr(0, 100)));
    const auto inside = tool.object("function");
    const std::string name = (inside ? *inside : tool).required_text("name");
    const auto at = std::ranges::find(wishes.names, name);
    if (at == wishes.names.end())
      refuse(tool.path("name"), "expected one of the tools, found {}", to_text(name.substr(0, 100)));
    keep[size_t(at - wishes.names.begin())] = true;
  }
  const auto filter = [&](auto& list) {
    size_t n = 0;
    for (size_t i = 0; i < keep.size(); ++i)
      if (keep[i]) list[n++] = list[i];
    list.resize(n);
  };
  filter(wishes.tools);
  filter(wishes.names);
  filter(wishes.schemas);
  filter(wishes.strict);
}

// OpenAI's: {"type": "allowed_tools", "mode": "auto" or "required", "tools": [...]}, in chat inside `allowed_tools`.
void read_allowed_tools(const Fields& choice, ToolWishes& wishes) {
  const auto inside = choice.object("allowed_tools");
  const Fields& allowed = inside ? *inside : choice;
  const std::string mode = allowed.word("mode", {"auto", "required"}, "auto");
  const Json* const named = allowed.list("tools");
  if (!named || named->empty()) refuse(allowed.path("tools"), "expected a list of tools, found none");
  keep_only(*named, allowed.path("tools"), wishes);
  wishes.must_call = mode == "required";
}

void read_choice(const Fields& body, Endpoint endpoint, ToolWishes& wishes) {
  const Json* choice = body.find("tool_choice");
  if (!choice) return;
  const std::string found = to_text(*choice).substr(0, 100);
  std::string word = choice->is_string() ? choice->get<std::string>() : "";
  if (const auto object = choice->is_object() ? body.object("tool_choice") : std::nullopt) {
    word = object->required_text("type");
    if (word == "allowed_tools" && endpoint != Endpoint::messages) return read_allowed_tools(*object, wishes);
    if (word == "function" || word == "tool") {
      const auto function = object->object("function");
      const std::string name = (function ? *function : *object).required_text("name");
      if (std::ranges::find(wishes.names, name) == wishes.names.end())
        refuse("tool_choice", "expected one of the tools, found {}", to_text(name.substr(0, 100)));
      wishes.must_call = true;
      wishes.only = name;
      return;
    }
  }
  if (word == "required" || word == "any") {
    if (wishes.tools.empty()) refuse("tool_choice", "expected tools beside it, as a call is {}", word);
    wishes.must_call = true;
    return;
  }
  if (word != "auto" && word != "none")
    refuse("tool_choice", "expected auto, none, {} or a tool by its name, found {}",
           endpoint == Endpoint::messages ? "any" : "required", found);
  wishes.may_call = word == "auto";
}

}  // namespace

ToolWishes read_tools(const Fields& body, Endpoint endpoint) {
  ToolWishes wishes;
  std::set<std::string> names;
  const Json* list = body.list("tools");
  if (list && list->size() > kMostTools) refuse("tools", "expected at most {}, found {}", kMostTools, list->size());
  for (size_t i = 0; list && i < list->size(); ++i) {
    const auto tool = read_tool(Fields((*list)[i], path_of("tools", i)), endpoint);
    if (!tool) continue;
    const std::string name = tool->json["name"];
    if (!names.insert(name).second) refuse(path_of("tools", i), "the name \"{}\" comes twice", name);
    wishes.names.push_back(name);
    wishes.tools.push_back(to_text(tool->json));
    wishes.strict.push_back(tool->strict);
    Json arguments = tool->json.value("parameters", Json::object());
    arguments["type"] = "object";  // where it says nothing
    wishes.schemas.push_back(to_text(arguments));
  }
  read_choice(body, endpoint, wishes);
  if (endpoint != Endpoint::messages) {
    wishes.one_only = !body.flag("parallel_tool_calls").value_or(true);
  } else if (const Json* choice = body.find("tool_choice"); choice && choice->is_object()) {
    wishes.one_only = body.object("tool_choice")->flag("disable_parallel_tool_use").value_or(false);
  }
  return wishes;
}

void add_tools(const ToolWishes& wishes, const ServedModel& model, ChatOptions& options, AnswerTask& task) {
  if (wishes.tools.empty() || !model.chat) return;
  if (wishes.may_call) {
    options.tools = wishes.tools;
    task.calls = CallWishes{model.chat->call_syntax(wishes.names), wishes.one_only};
    CallForm form = {.syntax = task.calls->syntax, .one_only = wishes.one_only};
    for (size_t i = 0; i < wishes.names.size(); ++i)
      if (wishes.only.empty() || wishes.names[i] == wishes.only)
        form.functions.push_back({wishes.names[i], wishes.schemas[i]});
    task.call_form = std::move(form);
    task.must_call = wishes.must_call;
    if (!wishes.must_call) task.strict = wishes.strict;
  } else {  // earlier calls in the conversation may lead it to another
    for (const Token token : model.chat->call_tokens()) task.each.sampling.logit_bias.push_back({token, kNever});
  }
}

}  // namespace hearth::server
