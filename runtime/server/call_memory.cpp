#include "runtime/server/call_memory.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/server/openai_shapes.h"

namespace hearth::server {

namespace {

// Whatever the order of members and the way numbers are written.
bool same_value(std::string_view a, std::string_view b) {
  if (a == b) return true;
  const auto value = nlohmann::json::parse(a, nullptr, false);
  return !value.is_discarded() && value == nlohmann::json::parse(b, nullptr, false);
}

}  // namespace

void CallMemory::keep(const std::vector<ChoiceCall>& calls, std::vector<Token> tokens) {
  auto answer = std::make_shared<Remembered>(Remembered{calls, std::move(tokens)});
  answer->bytes = sizeof(Remembered) + answer->tokens.size() * sizeof(Token);
  for (const ChoiceCall& call : calls) answer->bytes += 500 + call.name.size() + call.arguments.size();
  const std::lock_guard lock(mutex_);
  answers_.push_back(answer);
  bytes_ += answer->bytes;
  for (const ChoiceCall& call : calls) by_id_[call.id] = answer;
  while (answers_.size() > kMostAnswers || bytes_ > kMostBytes) {
    for (const ChoiceCall& call : answers_.front()->calls) by_id_.erase(call.id);
    bytes_ -= answers_.front()->bytes;
    answers_.pop_front();
  }
}

void CallMemory::restore(std::vector<SaidMessage>& said) const {
  for (SaidMessage& one : said) {
    std::vector<ToolCall>& calls = one.message.tool_calls;
    if (calls.empty()) continue;
    std::shared_ptr<const Remembered> answer;
    {
      const std::lock_guard lock(mutex_);
      const auto found = by_id_.find(one.call_ids.front());
      if (found != by_id_.end()) answer = found->second;
    }
    if (!answer || answer->calls.size() != calls.size()) continue;
    const bool same = std::ranges::equal(calls, answer->calls, [](const ToolCall& call, const ChoiceCall& own) {
      return call.name == own.name && same_value(call.arguments, arguments_of(own));
    });
    if (!same) continue;
    for (size_t i = 0; i < calls.size(); ++i) calls[i].arguments = answer->calls[i].arguments;
    one.message.tokens = answer->tokens;
  }
}

}  // namespace hearth::server
