#pragma once

#include "runtime/tools/call_parser.h"

namespace hearth {

// The tags, for those who write calls. All of them begin with the mark, but for those that close.
inline constexpr std::string_view kDsmlMark = "<｜DSML｜", kDsmlListOpen = "<｜DSML｜function_calls>",
                                  kDsmlListClose = "</｜DSML｜function_calls>",
                                  kDsmlCallOpen = "<｜DSML｜invoke name=\"", kDsmlCallClose = "</｜DSML｜invoke>",
                                  kDsmlParameterClose = "</｜DSML｜parameter>";
std::string dsml_parameter_open(const std::string& name, bool is_string);

// <｜DSML｜function_calls> with an <｜DSML｜invoke name="N"> for each call, and in it a <｜DSML｜parameter name="K"
// string="true|false"> for each argument: a string as it is, or JSON. Arguments come out as one JSON object, written as
// Python's json.dumps does. A list that was not begun still has calls; what is said to be JSON and is none is a string.
class DsmlCalls : public CallParser {
 public:
  explicit DsmlCalls(std::vector<std::string> names) : names_(std::move(names)) {}

  void push(std::string_view text, bool control, std::vector<CallEvent>& out) override;
  void finish(std::vector<CallEvent>& out) override;

 private:
  enum class State { text, list, call, string, json };

  bool step(std::vector<CallEvent>& out);
  bool look_for_list(std::vector<CallEvent>& out);
  bool read_list(std::vector<CallEvent>& out);
  bool read_call(std::vector<CallEvent>& out);
  bool read_string(std::vector<CallEvent>& out);
  bool read_json(std::vector<CallEvent>& out);
  bool wait_or_give_up(bool may_go_on, std::vector<CallEvent>& out);

  std::vector<std::string> names_;
  State state_ = State::text;
  bool has_calls_ = false, has_parameters_ = false;
  std::string pending_;  // not yet certain
  size_t list_tag_ = 0;  // of that, the tag that began the list, while there is no call
  size_t looked_ = 0;    // of a JSON value, what holds no closing tag
};

}  // namespace hearth
