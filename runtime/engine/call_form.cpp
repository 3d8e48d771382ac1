#include "runtime/engine/call_form.h"

#include <utility>

#include "quant/error.h"
#include "runtime/grammar/text_paths.h"

namespace hearth {

namespace {

using grammar::TextPart;
using grammar::TextPath;

// How a format writes a call, around the name and the arguments, and a list of them.
struct Writing {
  std::string list_begins, call_begins, behind_name, call_ends, between, list_ends;
};

// As templates show calls (runtime/chat/chat_formats.cpp), and runtime/tools/ reads them.
Writing writing_of(const CallSyntax& syntax) {
  if (syntax.format == CallFormat::tagged)
    return {"", "<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>", "\n", ""};
  require(syntax.format == CallFormat::marked, ErrorKind::usage,
          "calls in this model's format cannot be bound to a form yet");
  const auto mark = [&](size_t i) {
    return syntax.marks_are_tokens ? grammar::control_mark(kCallMarks[i]) : std::string(kCallMarks[i]);
  };
  if (!syntax.fenced) return {mark(0), mark(2), mark(4), mark(3), "", mark(1)};
  return {mark(0), mark(2) + "function" + mark(4), "\n```json\n", "\n```" + mark(3), "\n", mark(1)};
}

void add_text(const std::string& exactly, TextPath& path) {
  if (!exactly.empty()) path.parts.push_back({.kind = TextPart::Kind::text, .text = exactly});
}
void add_part(std::shared_ptr<const grammar::Grammar> form, TextPath& path) {
  path.parts.push_back({.kind = TextPart::Kind::grammar, .grammar = std::move(form)});
}

// Any of the calls.
std::shared_ptr<const grammar::Grammar> one_call(const CallForm& form, const Writing& writing) {
  std::vector<TextPath> calls;
  for (const CallForm::Function& function : form.functions) {
    TextPath call;
    add_text(writing.call_begins + function.name + writing.behind_name, call);
    const std::string parameters = function.parameters.empty() ? R"({"type": "object"})" : function.parameters;
    auto arguments = grammar::compile_schema(parameters, {.few_blanks = true});
    add_part(std::move(arguments), call);
    add_text(writing.call_ends, call);
    calls.push_back(std::move(call));
  }
  return grammar::compile_paths(std::move(calls));
}

}  // namespace

std::shared_ptr<const grammar::Grammar> compile_calls(const CallForm& form) {
  const Writing writing = writing_of(form.syntax);
  const auto call = one_call(form, writing);
  TextPath single;
  add_text(writing.list_begins, single);
  add_part(call, single);
  TextPath several = single;
  TextPath more;
  add_text(writing.between, more);
  add_part(call, more);
  more.again = 0;
  add_text(writing.list_ends, single);
  if (form.one_only) return grammar::compile_paths({single});
  auto others = grammar::compile_paths({more});
  add_part(std::move(others), several);
  add_text(writing.list_ends, several);
  return grammar::compile_paths({single, several});
}

}  // namespace hearth
