#include "runtime/engine/generation.h"

#include <fmt/format.h>

namespace hearth {

ContextOverflow::ContextOverflow(int64_t n_prompt, int64_t n_ctx)
    : Error(ErrorKind::resource,
            fmt::format("the prompt of {} tokens does not fit the context of {}", n_prompt, n_ctx)),
      n_prompt(n_prompt),
      n_ctx(n_ctx) {}

QueueFull::QueueFull(int64_t limit, double retry_after)
    : Error(ErrorKind::resource, fmt::format("{} requests wait already, as many as may: try again later", limit)),
      retry_after(retry_after) {}

}  // namespace hearth
