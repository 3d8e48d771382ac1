#include "runtime/engine/generation.h"

#include <fmt/format.h>

namespace hearth {

std::string_view stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::eos:
      return "eos";
    case StopReason::max_tokens:
      return "max_tokens";
    case StopReason::context_full:
      return "context_full";
    case StopReason::interrupted:
      return "interrupted";
    case StopReason::stop_string:
      return "stop_string";
  }
  return "";
}

ContextOverflow::ContextOverflow(int64_t n_prompt, int64_t n_ctx)
    : Error(ErrorKind::resource,
            fmt::format("the prompt of {} tokens does not fit the context of {}", n_prompt, n_ctx)),
      n_prompt(n_prompt),
      n_ctx(n_ctx) {}

QueueFull::QueueFull(int64_t limit, double retry_after)
    : Error(ErrorKind::resource, fmt::format("{} requests wait already, as many as may: try again later", limit)),
      retry_after(retry_after) {}

}  // namespace hearth
