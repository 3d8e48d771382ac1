#pragma once

#include "runtime/tools/call_parser.h"
#include "runtime/tools/json_prefix.h"

namespace hearth {

// <tool_call> {"name": NAME, "arguments": {...}} </tool_call> ..., blanks around the parts. Members of other names are
// passed over; `parameters` is another word for `arguments`.
class TaggedCalls : public CallParser {
 public:
  explicit TaggedCalls(std::vector<std::string> names) : names_(std::move(names)) {}

  void push(std::string_view text, bool control, std::vector<CallEvent>& out) override;
  void finish(std::vector<CallEvent>& out) override;

 private:
  enum class State { text, object, arguments, rest, between };

  bool step(std::vector<CallEvent>& out);
  bool look_for_tag(std::vector<CallEvent>& out);
  bool read_head(std::vector<CallEvent>& out);
  bool read_arguments(std::vector<CallEvent>& out);
  bool read_rest(std::vector<CallEvent>& out);
  bool give_up(std::vector<CallEvent>& out);

  std::vector<std::string> names_;
  State state_ = State::text;
  std::string pending_;  // not yet certain; of a call from its tag on, until it begins
  JsonPrefix json_;
};

}  // namespace hearth
