// What a request says about sampling, lengths and ends, which is the same in every protocol but for some names.
#pragma once

#include <initializer_list>
#include <string_view>

#include "runtime/server/answer_task.h"
#include "runtime/server/api_fields.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

// Everything that has one name everywhere: sampling, the seed, tokens that end an answer, `stream`. What is not said is
// as the model's defaults; without a seed it is another one each time.
void read_generation(const Fields& body, const ServedModel& model, AnswerTask& task);

// The first of these names that is there; -1 and none: until the model stops.
void read_max_tokens(const Fields& body, std::initializer_list<std::string_view> names, AnswerTask& task);

// A string, or a list of them.
void read_stops(const Fields& body, std::string_view name, AnswerTask& task);

// Choices for each prompt.
void read_n(const Fields& body, AnswerTask& task);

inline constexpr int64_t kMaxLogprobs = 20;  // likeliest tokens beside each one, as OpenAI has it
inline constexpr size_t kMaxChoices = 128;   // of all prompts together, likewise

}  // namespace hearth::server
