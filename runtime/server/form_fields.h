// The form that a request binds its answers to: response_format, and llama.cpp's `json_schema` and `grammar`.
#pragma once

#include <optional>

#include "runtime/engine/answer_form.h"
#include "runtime/server/answer_task.h"
#include "runtime/server/api_fields.h"
#include "runtime/server/parameters.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

struct FormWish {
  AnswerForm form;
  std::string path;  // of the field that says it
};

// Nothing: any text. `response_format` has three shapes, text, json_object and json_schema; in OpenAI's responses it is
// text.format, in Anthropic's messages output_config.format or output_format. Throws ApiError(400) for another shape,
// and for two forms at once.
std::optional<FormWish> read_form(const Fields& body, Endpoint endpoint);

// Binds the choices of a task whose prompts are there: to calls where one must be made, else to the form or, where the
// model may call, to either. Throws ApiError(400) for what cannot be kept to, with the place in it.
void add_form(const std::optional<FormWish>& wish, const Serving& serving, AnswerTask& task);

}  // namespace hearth::server
