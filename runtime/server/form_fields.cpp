#include "runtime/server/form_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "quant/error.h"
#include "runtime/server/api_error.h"

namespace hearth::server {

namespace {

std::optional<FormWish> read_format(const Fields& format) {
  const std::string type = format.required_text("type");
  if (type == "text") return std::nullopt;
  const auto schema_in = [](const Fields& object) -> std::optional<FormWish> {
    if (!object.has("schema")) return std::nullopt;
    return FormWish{{AnswerForm::Kind::schema, to_text(*object.find("schema"))}, object.path("schema")};
  };
  if (type == "json_object") {  // llama.cpp has a schema in it
    if (auto wish = schema_in(format)) return wish;
    return FormWish{AnswerForm::json_object(), format.path("type")};
  }
  if (type != "json_schema")
    refuse(format.path("type"), "expected text, json_object or json_schema, found {}", to_text(type.substr(0, 100)));
  const auto inside = format.object("json_schema");
  const Fields& named = inside ? *inside : format;  // OpenAI's responses have it flat
  if (auto wish = schema_in(named)) return wish;
  refuse(named.path("schema"), "expected a JSON Schema, found none");
}

}  // namespace

std::optional<FormWish> read_form(const Fields& body, Endpoint endpoint) {
  std::optional<FormWish> wish;
  const auto take = [&](std::optional<FormWish> other) {
    if (wish && other) refuse(other->path, "expected one form of the answer, found {} beside it", wish->path);
    if (other) wish = std::move(other);
  };
  const auto take_from = [&](const Fields& object, const char* name) {
    if (const auto format = object.object(name)) take(read_format(*format));
  };
  if (endpoint == Endpoint::responses || endpoint == Endpoint::messages) {
    const auto around = body.object(endpoint == Endpoint::responses ? "text" : "output_config");
    if (around) take_from(*around, "format");
    if (endpoint == Endpoint::messages) take_from(body, "output_format");
  } else {
    take_from(body, "response_format");
  }
  if (const auto schema = body.object("json_schema"); schema && !schema->json().empty())
    take(FormWish{{AnswerForm::Kind::schema, to_text(schema->json())}, "json_schema"});
  if (const auto grammar = body.text("grammar"); grammar && !grammar->empty())
    take(FormWish{{AnswerForm::Kind::gbnf, *grammar}, "grammar"});
  return wish;
}

namespace {

// Text or calls, as the model has it; arguments of strict functions satisfy their schemas.
CallForm strict_calls(const AnswerTask& task) {
  CallForm form = *task.call_form;
  form.text_too = true;
  for (size_t i = 0; i < form.functions.size(); ++i)
    if (!task.strict[i]) form.functions[i].parameters = "";
  return form;
}

}  // namespace

void add_form(const std::optional<FormWish>& wish, const Serving& serving, AnswerTask& task) {
  const bool strict = std::ranges::count(task.strict, true) > 0;
  if (!wish && !task.must_call && !strict) return;
  const ChatTemplate* const chat = task.chat ? serving.model->chat : nullptr;
  const ThoughtsInFront thoughts = {.opened = task.opens_thoughts, .possible = chat && chat->thinks()};
  const AnswerForms& forms = *serving.forms;
  const auto bound = [&] {
    if (task.must_call) return forms.bind(*task.call_form, thoughts);
    if (!wish) return forms.bind(strict_calls(task), thoughts);
    if (task.call_form) return forms.bind(*task.call_form, wish->form, thoughts);
    return forms.bind(wish->form, thoughts);
  };
  try {
    while (task.constraints.size() < task.n_choices()) task.constraints.push_back(bound());
  } catch (const Error& refusal) {
    if (refusal.kind != ErrorKind::usage) throw;
    refuse(task.must_call ? "tool_choice" : wish ? wish->path : "tools", "{}", refusal.what());
  }
}

}  // namespace hearth::server
