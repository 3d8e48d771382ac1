#include "runtime/server/served_model.h"

#include <algorithm>
#include <utility>

#include "runtime/server/call_memory.h"

namespace hearth::server {

void LoadingState::progress(double share) {
  progress_ = std::clamp(share, 0.0, 1.0);
}

void LoadingState::ready(Serving serving) {
  const std::lock_guard lock(mutex_);
  serving_ = std::move(serving);
  serving_.memory = std::make_shared<CallMemory>();
  const ServedModel& model = *serving_.model;
  serving_.forms = std::make_shared<AnswerForms>(*model.tokenizer, model.n_vocab,
                                                 model.chat ? model.chat->stop_tokens() : std::vector<Token>());
}

Serving LoadingState::serving() const {
  const std::lock_guard lock(mutex_);
  return serving_;
}

}  // namespace hearth::server
