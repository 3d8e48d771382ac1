// The endpoints, one function each: from a request to what is to be generated, or straight to an answer.
#pragma once

#include "runtime/server/answer_task.h"
#include "runtime/server/api_fields.h"
#include "runtime/server/http.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

// What is generated. Each throws ApiError, and Error where the model has no such thing.
AskedAnswer ask_chat_completion(const Serving& serving, const Fields& body);  // chat_completions.cpp
AskedAnswer ask_completion(const Serving& serving, const Fields& body);       // completions.cpp
AskedAnswer ask_infill(const Serving& serving, const Fields& body);           // infill.cpp
AskedAnswer ask_response(const Serving& serving, const Fields& body);         // responses.cpp
AskedAnswer ask_message(const Serving& serving, const Fields& body);          // messages.cpp

// What is told at once.
Json count_message_tokens(const Serving& serving, const Fields& body);  // messages.cpp
Json tokenize(const Serving& serving, const Fields& body);              // text_tools.cpp
Json detokenize(const Serving& serving, const Fields& body);
Json apply_template(const Serving& serving, const Fields& body);
Json refuse_embeddings(const Serving& serving, const Fields& body);

// About the model and the server: about_model.cpp
Json list_models(const ServedModel& model);
Json describe_model(const ServedModel& model, std::string_view id);  // ApiError(404) for another one
Json properties(const Serving& serving);

}  // namespace hearth::server
