// What the model wrote when it called, for the next request of the same conversation.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/server/answer_task.h"
#include "runtime/server/chat_messages.h"

namespace hearth::server {

// Clients send calls back as they understood them: Anthropic's as JSON values, and others with blanks, numbers and
// escapes that are their own. The prompt is to show what the model wrote, token by token, or the cache is lost from
// there on. Calls are known again by their ids, of which the last ones are remembered. From any thread.
class CallMemory {
 public:
  static constexpr size_t kMostAnswers = 4096, kMostBytes = size_t(16) << 20;

  //   tokens: of the whole answer, as sampled, without the closing eos
  void keep(const std::vector<ChoiceCall>& calls, std::vector<Token> tokens);

  // Gives messages their calls' own text and their tokens back, where names and values are still the same.
  void restore(std::vector<SaidMessage>& said) const;

 private:
  struct Remembered {
    std::vector<ChoiceCall> calls;
    std::vector<Token> tokens;
    size_t bytes = 0;
  };

  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<const Remembered>> answers_;  // the oldest first
  std::map<std::string, std::shared_ptr<const Remembered>> by_id_;
  size_t bytes_ = 0;
};

}  // namespace hearth::server
