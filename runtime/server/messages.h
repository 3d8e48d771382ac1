// The two halves of Anthropic's /v1/messages.
#pragma once

#include <memory>
#include <vector>

#include "runtime/server/answer_task.h"
#include "runtime/server/chat_messages.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

// The system text and the messages. Blocks of thoughts and of calls are kept; what is no text is refused by its place.
std::vector<SaidMessage> read_anthropic_messages(const Fields& body);

std::unique_ptr<AnswerWriter> message_writer(std::shared_ptr<const ServedModel> model);

}  // namespace hearth::server
