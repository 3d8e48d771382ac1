// What an answer that brings no file means: to be tried again, or the end.
#pragma once

#include <ctime>
#include <optional>
#include <string>

#include "runtime/hub/answer_headers.h"

namespace hearth::hub {

struct Verdict {
  bool again = false;               // it may pass
  std::optional<uint64_t> seconds;  // that the hub wants to be left alone for
  std::string why;                  // "the hub answers 404: there is no such file"
};

// `head`: neither 2xx nor a redirect. `host` said it, `with_token` or without one.
Verdict judge(const HttpHead& head, const std::string& host, bool with_token, std::time_t now);

}  // namespace hearth::hub
