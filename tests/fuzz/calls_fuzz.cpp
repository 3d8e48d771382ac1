// Function calls: whatever a model says, in whatever pieces, the same calls and the same text come out; text without
// calls comes out whole; and a call is told from its beginning to its end.
#include "runtime/tools/call_parser.h"
#include "tests/fuzz/target.h"

namespace hearth::test {

namespace {

// What came out, as one text.
class Sums {
 public:
  explicit Sums(const CallSyntax& syntax) : parser_(make_call_parser(syntax)) {}

  void push(std::string_view text, bool control) {
    events_.clear();
    parser_->push(text, control, events_);
    add();
  }
  void finish() {
    events_.clear();
    parser_->finish(events_);
    add();
    expect(!open_, "every call ends");
  }

  std::string text, calls;

 private:
  void add() {
    using enum CallEvent::Kind;
    for (const CallEvent& event : events_) {
      expect(event.text.empty() == (event.kind == end || event.kind == over), "nothing empty is told");
      expect(open_ == (event.kind == arguments || event.kind == end), "arguments are a call's");
      open_ = event.kind == begin || event.kind == arguments;
      if (event.kind == CallEvent::Kind::text) {
        this->text += event.text;
      } else {
        if (event.kind == begin) calls += "\n" + std::to_string(this->text.size()) + " ";
        calls += event.kind == begin       ? event.text + "("
                 : event.kind == arguments ? event.text
                 : event.kind == end       ? ")"
                                           : "over at " + std::to_string(this->text.size());
      }
    }
  }

  std::unique_ptr<CallParser> parser_;
  std::vector<CallEvent> events_;
  bool open_ = false;
};

std::string_view mark_at(std::string_view text) {
  for (const std::string_view mark : kCallMarks)
    if (text.starts_with(mark)) return mark;
  return {};
}

Sums said(const CallSyntax& syntax, std::string_view text, size_t longest, uint32_t random) {
  Sums sums(syntax);
  while (!text.empty()) {
    const std::string_view mark = syntax.marks_are_tokens ? mark_at(text) : std::string_view();
    size_t length = mark.size();
    if (mark.empty()) {
      random = random * 1664525 + 1013904223;
      const size_t most = std::min<size_t>(1 + (random >> 16) % longest, text.size());
      for (length = 1; length < most; ++length)
        if (syntax.marks_are_tokens && !mark_at(text.substr(length)).empty()) break;
    }
    sums.push(text.substr(0, length), !mark.empty());
    text.remove_prefix(length);
  }
  sums.finish();
  return sums;
}

}  // namespace

// The first byte says which format and how it is cut.
bool fuzz_one(std::span<const std::byte> input) {
  const CallSyntax syntaxes[] = {{.format = CallFormat::marked, .marks_are_tokens = true},
                                 {.format = CallFormat::marked},
                                 {.format = CallFormat::dsml, .names = {"f", "g"}},
                                 {.format = CallFormat::tagged, .names = {"f", "g"}}};
  const std::string_view all(reinterpret_cast<const char*>(input.data()), input.size());
  const uint32_t first = all.empty() ? 0 : uint8_t(all[0]);
  const std::string_view text = all.substr(std::min<size_t>(1, all.size()));
  const CallSyntax& syntax = syntaxes[first % 4];
  const Sums whole = said(syntax, text, 1 << 20, 0);
  for (const size_t longest : {size_t(1), size_t(2 + first / 4)}) {
    const Sums pieces = said(syntax, text, longest, first);
    expect(pieces.text == whole.text, "the text does not depend on the pieces");
    expect(pieces.calls == whole.calls, "calls do not depend on the pieces");
  }
  expect(whole.text.size() <= text.size(), "no text is added");
  if (whole.calls.empty()) expect(whole.text == text, "without calls, all is text");
  return !whole.calls.empty();
}

std::vector<std::string> fuzz_seeds() {
  const std::string fenced =
      "So:<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"x\": [1, \"a\"]}\n```"
      "<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜>"
      "<｜tool▁calls▁end｜>";
  const std::string plain =
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": -1e3}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g"
      "<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
  const std::string dsml =
      "So:\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" "
      "string=\"true\">b\n\""
      "</｜DSML｜parameter>\n<｜DSML｜parameter name=\"c\" "
      "string=\"false\">[1]</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
      "<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>\n</｜DSML｜function_calls>";
  const std::string tagged =
      "So:\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"}\"}}\n</tool_call>\n<tool_call>{\"arguments\": "
      "{}, "
      "\"id\": 7, \"name\": \"g\"}</tool_call>";
  std::vector<std::string> seeds;
  for (const char first : {'\0', '\1', '\4', '\5'})
    for (const std::string& text : {fenced, plain}) seeds.push_back(first + text);
  for (const char first : {'\2', '\6'}) seeds.push_back(first + dsml);
  for (const char first : {'\3', '\7'}) seeds.push_back(first + tagged);
  return seeds;
}

}  // namespace hearth::test
