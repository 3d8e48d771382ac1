// Conversations as the protocols bring them, made into those that chat templates take.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/chat/chat_template.h"
#include "runtime/server/answer_task.h"
#include "runtime/server/api_fields.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

// A message with the names by which results find their calls.
struct SaidMessage {
  ChatMessage message;
  std::vector<std::string> call_ids = {};  // of message.tool_calls
  std::string answers = {};                // of a result: the id of its call
};

// A string, or the texts of a list of parts, each on lines of its own. What is no text (images, audio, files) is
// refused by its place.
//   text_types: of parts that are text, "text"
std::string text_of_content(const Json& content, const std::string& path,
                            const std::vector<std::string_view>& text_types = {"text"});
// Refuses the part whose type is none that can be read.
[[noreturn]] void refuse_part(const std::string& path, const std::string& type);

// Claude Code begins its system message with a line about billing that changes with every request: no prefix would ever
// be found in the cache.
std::string without_billing_line(std::string system);

// The messages of OpenAI's chat completions. Throws ApiError for none at all, for unknown roles, and for what is no
// text.
std::vector<SaidMessage> read_messages(const Fields& body);

// Adds a conversation as the prompt: results stand in the order of their calls, as templates have no other way to tell
// which is whose. Calls that this server's model made are told as it wrote them.
//   continue_last: the model goes on with the last message, which must be an assistant's, and begins no other
void add_conversation(std::vector<SaidMessage> said, const ChatOptions& options, bool continue_last,
                      const Serving& serving, AnswerTask& task);
// The same as parts of a prompt; what the model is to go on with comes last.
ChatPrompt render_conversation(std::vector<SaidMessage> said, const ChatOptions& options, bool continue_last,
                               const ServedModel& model);

// Whether the model is to think, where its template has a switch; the protocols have several ways to say so.
std::optional<bool> thinking_for_effort(std::string_view effort);
ChatOptions read_chat_options(const Fields& body, const ServedModel& model);

}  // namespace hearth::server
