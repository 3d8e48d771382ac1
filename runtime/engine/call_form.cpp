#include "runtime/engine/call_form.h"

#include <utility>

#include "runtime/engine/dsml_arguments.h"
#include "runtime/grammar/text_paths.h"
#include "runtime/tools/dsml_calls.h"

namespace hearth {

namespace {

using grammar::TextPart;
using grammar::TextPath;

// How a format writes a call, around the name and the arguments, and a list of them.
struct Writing {
  std::string mark;         // what calls begin with; no text around them has it
  std::string list_begins;  // in front of the mark, where there is no text
  std::string behind_mark;  // up to the first call
  std::string call_begins, behind_name, call_ends, between, list_ends;
};

// As templates show calls (runtime/chat/chat_formats.cpp), and runtime/tools/ reads them.
Writing writing_of(const CallSyntax& syntax) {
  if (syntax.format == CallFormat::tagged)
    return {.mark = "<tool_call>",
            .call_begins = "\n{\"name\": \"",
            .behind_name = "\", \"arguments\": ",
            .call_ends = "}\n</tool_call>",
            .between = "\n<tool_call>"};
  if (syntax.format == CallFormat::dsml) {
    const std::string list(kDsmlListOpen), call(kDsmlCallOpen), call_close(kDsmlCallClose), close(kDsmlListClose);
    return {.mark = std::string(kDsmlMark),
            .list_begins = "\n\n",
            .behind_mark = list.substr(kDsmlMark.size()) + "\n",
            .call_begins = call,
            .behind_name = "\">\n",
            .call_ends = call_close + "\n",
            .list_ends = close};
  }
  const auto mark = [&](size_t i) {
    return syntax.marks_are_tokens ? grammar::control_mark(kCallMarks[i]) : std::string(kCallMarks[i]);
  };
  if (!syntax.fenced)
    return {
        .mark = mark(0), .call_begins = mark(2), .behind_name = mark(4), .call_ends = mark(3), .list_ends = mark(1)};
  return {.mark = mark(0),
          .call_begins = mark(2) + "function" + mark(4),
          .behind_name = "\n```json\n",
          .call_ends = "\n```" + mark(3),
          .between = "\n",
          .list_ends = mark(1)};
}

void add_text(const std::string& exactly, TextPath& path) {
  if (!exactly.empty()) path.parts.push_back({.kind = TextPart::Kind::text, .text = exactly});
}
void add_part(std::shared_ptr<const grammar::Grammar> form, TextPath& path) {
  path.parts.push_back({.kind = TextPart::Kind::grammar, .grammar = std::move(form)});
}

// Any object, where the function says nothing of its arguments.
TextPart arguments_of(const CallForm::Function& function, const CallForm& form) {
  const bool dsml = form.syntax.format == CallFormat::dsml;
  if (function.parameters.empty() && dsml) return {.kind = TextPart::Kind::free, .text = std::string(kDsmlCallClose)};
  const std::string parameters = function.parameters.empty() ? R"({"type": "object"})" : function.parameters;
  auto compiled = dsml ? compile_dsml_arguments(parameters) : grammar::compile_schema(parameters, {.few_blanks = true});
  return {.kind = TextPart::Kind::grammar, .grammar = std::move(compiled)};
}

// Any of the calls.
std::shared_ptr<const grammar::Grammar> one_call(const CallForm& form, const Writing& writing) {
  std::vector<TextPath> calls;
  for (const CallForm::Function& function : form.functions) {
    TextPath call;
    add_text(writing.call_begins + function.name + writing.behind_name, call);
    TextPart arguments = arguments_of(function, form);
    const bool has_end = arguments.kind == TextPart::Kind::free;  // up to and with it
    call.parts.push_back(std::move(arguments));
    add_text(has_end ? writing.call_ends.substr(kDsmlCallClose.size()) : writing.call_ends, call);
    calls.push_back(std::move(call));
  }
  return grammar::compile_paths(std::move(calls));
}

}  // namespace

std::shared_ptr<const grammar::Grammar> compile_calls(const CallForm& form) {
  const Writing writing = writing_of(form.syntax);
  const auto call = one_call(form, writing);
  TextPath single;
  if (form.text_too)
    single.parts.push_back({.kind = TextPart::Kind::free, .text = writing.mark, .may_end = true});
  else
    add_text(writing.list_begins + writing.mark, single);
  add_text(writing.behind_mark, single);
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
