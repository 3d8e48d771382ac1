// The two halves of OpenAI's /v1/responses.
#pragma once

#include <memory>

#include "runtime/server/answer_task.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

// said: what the response repeats of the request
std::unique_ptr<AnswerWriter> response_writer(std::shared_ptr<const ServedModel> model, Json said);

}  // namespace hearth::server
