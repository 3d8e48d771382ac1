#include "runtime/cli/chat/saved_chat.h"

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "quant/error.h"
#include "runtime/grammar/refusal.h"
#include "runtime/server/api_fields.h"
#include "runtime/server/chat_messages.h"
#include "runtime/support/text_file.h"

namespace hearth::cli {
namespace {

using Json = nlohmann::ordered_json;
using Role = ChatMessage::Role;
using server::Fields;

constexpr std::string_view kFormat = "hearth chat";
constexpr int64_t kVersion = 1;
constexpr std::string_view kBody = "the body";  // what the reader of requests calls its text
constexpr size_t kMostBytes = size_t(64) << 20;

const char* word_of(Role role) {
  constexpr const char* kWords[] = {"system", "user", "assistant", "tool"};
  return kWords[int(role)];
}

Json calls_json(const ChatEntry& entry) {
  Json list = Json::array();
  for (size_t i = 0; i < entry.message.tool_calls.size(); ++i) {
    const ToolCall& call = entry.message.tool_calls[i];
    list.push_back({{"id", i < entry.call_ids.size() ? entry.call_ids[i] : ""},
                    {"type", "function"},
                    {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  return list;
}

Json message_json(const ChatEntry& entry) {
  const ChatMessage& message = entry.message;
  Json json = {{"role", word_of(message.role)}};
  json["content"] = entry.files + message.content;
  if (!message.thoughts.empty()) json["reasoning_content"] = message.thoughts;
  if (!message.tool_calls.empty()) json["tool_calls"] = calls_json(entry);
  if (message.role == Role::tool) json["tool_call_id"] = entry.answers_call;
  return json;
}

// The numbers of sampling under the names that /set knows: `visit(name, optional)` for each, to write and to read.
template <class Choices, class Visit>
void for_each_number(Choices& choices, Visit&& visit) {
  visit("temperature", choices.temperature);
  visit("top_p", choices.top_p);
  visit("top_k", choices.top_k);
  visit("min_p", choices.min_p);
  visit("repeat_penalty", choices.repetition_penalty);
  visit("repeat_window", choices.repetition_window);
  visit("frequency_penalty", choices.frequency_penalty);
  visit("presence_penalty", choices.presence_penalty);
}

Json settings_json(const ChatSettings& settings) {
  Json json = Json::object();
  for_each_number(settings.sampling, [&](const char* name, const auto& number) {
    if (number) json[name] = Json::parse(fmt::format("{}", *number));  // 0.7, not 0.699999988079071
  });
  if (settings.sampling.seed) json["seed"] = *settings.sampling.seed;
  if (settings.max_tokens >= 0) json["max_tokens"] = settings.max_tokens;
  if (!settings.stops.empty()) json["stop"] = settings.stops;
  if (settings.think) json["think"] = *settings.think;
  if (settings.schema) {
    const Json schema = Json::parse(*settings.schema, nullptr, false);
    json["json_schema"] = schema.is_discarded() ? Json(*settings.schema) : schema;
  }
  return json;
}

uint64_t read_seed(const Json& seed) {
  if (!seed.is_number_unsigned())
    fail(ErrorKind::usage, "settings.seed: expected a number of 64 bits, found {}", server::kind_of(seed));
  return seed;
}

ChatSettings read_settings(const Fields& fields) {
  constexpr double kMost = std::numeric_limits<int>::max();
  ChatSettings settings;
  for_each_number(settings.sampling, [&]<class T>(const char* name, std::optional<T>& number) {
    if constexpr (std::is_same_v<T, int>) {
      if (const auto found = fields.integer(name, 0, int64_t(kMost))) number = int(*found);
    } else {
      if (const auto found = fields.number(name, -kMost, kMost)) number = T(*found);
    }
  });
  if (const Json* seed = fields.find("seed")) settings.sampling.seed = read_seed(*seed);
  settings.max_tokens = fields.integer("max_tokens", 1, int64_t(kMost)).value_or(-1);
  settings.think = fields.flag("think");
  if (const Json* schema = fields.find("json_schema"))
    settings.schema = schema->is_string() ? schema->get<std::string>() : server::to_text(*schema);
  const Json* stops = fields.list("stop");
  for (size_t i = 0; stops && i < stops->size(); ++i) {
    const Json& stop = (*stops)[i];
    require(stop.is_string(), ErrorKind::usage, "{}: expected a string, found {}",
            server::path_of(fields.path("stop"), i), server::kind_of(stop));
    settings.stops.push_back(stop);
  }
  return settings;
}

// Results in the order of their calls, as templates have no other way to tell which is whose.
void order_results(std::vector<ChatEntry>& entries) {
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::vector<std::string>& ids = entries[i].call_ids;
    const auto begin = entries.begin() + ptrdiff_t(i) + 1;
    const auto end =
        std::find_if(begin, entries.end(), [](const ChatEntry& entry) { return entry.message.role != Role::tool; });
    if (ids.empty() && begin != end && entries[i].message.role != Role::tool)
      fail(ErrorKind::usage, "messages[{}].tool_call_id: expected the id of a call in front of it, found none", i + 1);
    if (!ids.empty())
      std::stable_sort(begin, end, [&](const ChatEntry& a, const ChatEntry& b) {
        return std::ranges::find(ids, a.answers_call) < std::ranges::find(ids, b.answers_call);
      });
  }
}

std::vector<ChatEntry> read_entries(const Fields& file) {
  std::vector<ChatEntry> entries;
  if (const Json* list = file.list("messages"); list && list->empty()) return entries;  // saved at its beginning
  for (server::SaidMessage& said : server::read_messages(file)) {
    ChatEntry entry;
    entry.message = std::move(said.message);
    entry.call_ids = std::move(said.call_ids);
    entry.answers_call = std::move(said.answers);
    entries.push_back(std::move(entry));
  }
  require(entries.front().message.role != Role::tool, ErrorKind::usage,
          "messages[0].role: expected system or user, found tool");
  order_results(entries);
  return entries;
}

ChatState read_state(const Json& json) {
  const Fields file(json);
  const std::string format = file.text("format").value_or("");
  require(format == kFormat, ErrorKind::usage,
          "format: expected \"{}\", found \"{}\": no conversation that /save wrote", kFormat, format.substr(0, 100));
  const int64_t version = file.integer("version", 0, std::numeric_limits<int>::max()).value_or(0);
  require(version == kVersion, ErrorKind::usage, "version: expected {}, found {}", kVersion, version);
  ChatState state;
  if (const auto settings = file.object("settings")) state.settings = read_settings(*settings);
  state.entries = read_entries(file);
  if (!state.entries.empty() && state.entries.front().message.role == Role::system) {
    state.settings.system = std::move(state.entries.front().message.content);
    state.entries.erase(state.entries.begin());
  }
  return state;
}

}  // namespace

std::string saved_chat(const ChatState& state, const std::string& model) {
  Json messages = Json::array();
  if (!state.settings.system.empty()) messages.push_back({{"role", "system"}, {"content", state.settings.system}});
  for (const ChatEntry& entry : state.entries) messages.push_back(message_json(entry));
  const Json file = {{"format", kFormat},
                     {"version", kVersion},
                     {"model", model},
                     {"settings", settings_json(state.settings)},
                     {"messages", std::move(messages)}};
  return file.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

ChatState parse_chat(const std::string& text) {
  try {
    return read_state(server::parse_body(text));
  } catch (const Error& error) {
    // What refuses the bodies of requests quotes what it found as it is.
    std::string message = grammar::in_one_line(error.what());
    if (message.starts_with(kBody)) message.replace(0, kBody.size(), "the file");
    throw Error(ErrorKind::usage, message);
  }
}

void write_chat(const std::string& path, const std::string& text) {
  require(!path.empty(), ErrorKind::usage, "expected the path of a file, found nothing");
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
    bool ours = true;
    try {
      read_chat(path);
    } catch (const Error&) {
      ours = false;
    }
    require(ours, ErrorKind::file,
            "{}: expected a new name or a conversation that /save wrote, found another file: left as it is", path);
  }
  write_text_file(path == "-" ? "./-" : path, text);
}

ChatState read_chat(const std::string& path) {
  require(!path.empty(), ErrorKind::usage, "expected the path of a file, found nothing");
  const std::string text = read_text_file(path, kMostBytes);
  try {
    return parse_chat(text);
  } catch (const Error& error) {
    throw Error(error.kind, fmt::format("{}: {}", path, error.what()));
  }
}

}  // namespace hearth::cli
