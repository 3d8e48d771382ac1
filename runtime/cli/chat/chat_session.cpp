#include "runtime/cli/chat/chat_session.h"

#include <algorithm>
#include <iterator>

#include "quant/error.h"
#include "runtime/cli/chat/words.h"
#include "runtime/cli/chat_options.h"
#include "runtime/cli/files.h"

namespace hearth::cli {
namespace {

using Role = ChatMessage::Role;

bool is_question(const ChatEntry& entry) {
  return entry.message.role == Role::user;
}

}  // namespace

ChatSession::ChatSession(LoadedModel& model, ChatTemplate format, ChatSettings settings)
    : model_(model),
      format_(std::move(format)),
      forms_(*model.tokenizer, model.model->config().vocab_size, format_.stop_tokens()),
      conversation_(*model.model, *model.tokenizer) {
  set(std::move(settings));
}

void ChatSession::set(ChatSettings settings) {
  require_utf8(settings.system, "system");
  require_stops(settings.stops, "stop");
  if (settings.think) require_thinking_switch(format_, "think");
  if (settings.schema && settings.schema != state_.settings.schema)
    forms_.bind({AnswerForm::Kind::schema, *settings.schema});  // or it is refused now
  if (!sampler_ || settings.sampling != state_.settings.sampling) {
    const bool goes_on = sampler_ && settings.sampling.seed == state_.settings.sampling.seed;
    sampler_ = sampler_of(settings.sampling, goes_on ? std::optional(seed_) : std::nullopt);
    seed_ = sampling().seed;
  }
  state_.settings = std::move(settings);
}

// seed: instead of the one that is chosen or drawn
Sampler ChatSession::sampler_of(const SamplingChoices& choices, std::optional<uint64_t> seed) const {
  SamplerOptions options = chosen_sampling(choices, model_.model->file().metadata(), &format_);
  options.seed = seed.value_or(options.seed);
  return model_.sampler(options);
}

void ChatSession::restore(ChatState state) {
  std::optional<ChatEntry> unanswered;
  if (!state.entries.empty() && is_question(state.entries.back())) {
    unanswered = std::move(state.entries.back());
    state.entries.pop_back();
  }
  encode(state.settings, state.entries, false);
  state.settings.hide_thoughts = settings().hide_thoughts;
  set(std::move(state.settings));
  clear();
  state_.entries = std::move(state.entries);
  if (unanswered) waiting_.emplace(std::move(*unanswered), false);
}

ChatState ChatSession::state() const {
  ChatState state = state_;
  if (waiting_) state.entries.push_back(waiting_->first);
  return state;
}

void ChatSession::clear() {
  state_.entries.clear();
  attached_.clear();
  waiting_.reset();
}

ChatSession::Prompt ChatSession::encode(const ChatSettings& settings, const std::vector<ChatEntry>& entries,
                                        bool to_answer) const {
  std::vector<ChatMessage> messages;
  if (!settings.system.empty()) messages.push_back({Role::system, settings.system});
  for (const ChatEntry& entry : entries) {
    messages.push_back(entry.message);
    messages.back().content.insert(0, entry.files);
  }
  if (messages.empty()) return {};  // which some templates refuse
  const ChatPrompt rendered = format_.render(messages, {.add_generation_prompt = to_answer, .think = settings.think});
  return {model_.tokenizer->encode(rendered.parts), rendered.opens_thoughts};
}

int64_t ChatSession::count(const std::vector<ChatEntry>& entries, bool to_answer) const {
  if (entries.empty()) return 0;
  return int64_t(encode(settings(), entries, to_answer).tokens.size());
}

int64_t ChatSession::used_tokens() const {
  return count(state_.entries, false);
}

const AttachedFile& ChatSession::attach(std::string name, std::string text) {
  const int64_t n = int64_t(model_.tokenizer->encode(in_front_of_question({{name, text}}), false).size());
  int64_t used = used_tokens();
  for (const AttachedFile& file : attached_) used += file.n_tokens;
  require(used + n <= n_ctx(), ErrorKind::resource, "{}: its {} tokens do not fit: {} of {} are free{}", name,
          grouped(n), grouped(std::max<int64_t>(n_ctx() - used, 0)), grouped(n_ctx()),
          n <= n_ctx() ? " (/undo, /drop and /clear make room)" : ": --ctx makes the context larger");
  attached_.push_back({std::move(name), std::move(text), n});
  return attached_.back();
}

std::string ChatSession::full_context() const {
  return fmt::format(
      "the context of {} tokens is full: /undo takes the last turn back, /drop forgets the oldest ones, /clear starts "
      "anew, --ctx makes it larger",
      n_ctx());
}

void ChatSession::require_room(const Prompt& prompt, const ChatEntry& question) {
  const int64_t n = int64_t(prompt.tokens.size());
  if (n <= n_ctx()) return;
  const int64_t n_alone = count({question}, true);
  require(n_alone <= n_ctx(), ErrorKind::resource,
          "the message of {} tokens does not fit the context of {}: --ctx makes it larger", n_alone, n_ctx());
  waiting_.emplace(question, true);
  fail(ErrorKind::resource, "{} tokens do not fit: {}", n, full_context());
}

ChatSession::Reply ChatSession::ask(const std::string& text, Listener listener) {
  require_utf8(text, "message");
  std::vector<AttachedFile> attached = std::exchange(attached_, {});
  ChatEntry question;
  question.message.content = text;
  question.files = in_front_of_question(attached);
  try {
    return say(std::move(question), std::move(listener));
  } catch (...) {
    if (!waits()) attached_ = std::move(attached);  // else they wait with the question
    throw;
  }
}

ChatSession::Reply ChatSession::again(const std::optional<std::string>& other_words, Listener listener) {
  if (other_words) require_utf8(*other_words, "message");
  if (waiting_) {
    ChatEntry question = std::exchange(waiting_, {})->first;
    if (other_words) question.message.content = *other_words;
    return say(std::move(question), std::move(listener));
  }
  const size_t at = last_question_at();
  require(at < state_.entries.size(), ErrorKind::usage, "nothing was asked yet");
  const std::vector<ChatEntry> before = state_.entries;
  ChatEntry question = before[at];
  if (other_words) question.message.content = *other_words;
  state_.entries.erase(state_.entries.begin() + ptrdiff_t(at), state_.entries.end());
  sampler_ = sampler_of(settings().sampling, ++seed_);
  const auto put_back = [&] {
    state_.entries = before;
    waiting_.reset();
  };
  try {
    Reply reply = say(std::move(question), std::move(listener));
    if (reply.unanswered)
      put_back();
    else
      reply.repeated = !other_words && before.back().message.content == state_.entries.back().message.content;
    return reply;
  } catch (...) {
    put_back();
    throw;
  }
}

ChatSession::Reply ChatSession::say(ChatEntry question, Listener listener) {
  waiting_.reset();
  const size_t before = state_.entries.size();
  const auto take_back = [&] {
    state_.entries.erase(state_.entries.begin() + ptrdiff_t(before), state_.entries.end());
  };
  state_.entries.push_back(question);
  ChatMessage said{Role::assistant, ""};
  GenerateResult result;
  try {
    const Prompt prompt = encode(settings(), state_.entries);
    require_room(prompt, question);
    result = stream(prompt, said, std::move(listener));
  } catch (...) {
    take_back();
    throw;
  }
  Reply reply{result.reason, int64_t(result.tokens.size()), result.stopped_unanswered()};
  if (reply.unanswered) {
    take_back();
    waiting_.emplace(std::move(question), false);
    return reply;
  }
  state_.entries.emplace_back().message = std::move(said);
  counts_.answers += 1;
  counts_.prompt_tokens += result.prompt_tokens;
  counts_.cached_tokens += result.cached_tokens;
  counts_.generated_tokens += int64_t(result.tokens.size());
  counts_.prefill_seconds += result.prefill_seconds;
  counts_.decode_seconds += result.decode_seconds;
  return reply;
}

GenerateResult ChatSession::stream(const Prompt& prompt, ChatMessage& said, Listener listener) {
  GenerateOptions options;
  options.max_tokens = settings().max_tokens;
  options.stop_tokens = format_.stop_tokens();
  if (settings().schema) {
    const AnswerForm form = {AnswerForm::Kind::schema, *settings().schema};
    options.constraint = forms_.bind(form, {.opened = prompt.opens_thoughts, .possible = format_.thinks()});
  }
  Answer answer = Answer::in_chat(*model_.tokenizer, prompt.opens_thoughts, format_.answer_lead(), settings().stops,
                                  std::move(listener.sink));
  GenerateResult result =
      generate_answer(conversation_, prompt.tokens, *sampler_, options, answer, std::move(listener.callbacks));
  if (result.stopped_unanswered()) return result;
  answer.finish(result.reason);
  said.content = answer.text();
  said.thoughts = answer.thoughts();
  // Tokens of a stop string, or half of one, were not said: what stands before it is encoded anew.
  if (!answer.stopped()) said.tokens = result.tokens;
  return result;
}

size_t ChatSession::last_question_at() const {
  const auto last = std::find_if(state_.entries.rbegin(), state_.entries.rend(), is_question);
  return last == state_.entries.rend() ? state_.entries.size() : size_t(state_.entries.rend() - last) - 1;
}

std::optional<std::string> ChatSession::last_question() const {
  if (waiting_) return waiting_->first.message.content;
  const size_t at = last_question_at();
  return at < state_.entries.size() ? std::optional(state_.entries[at].message.content) : std::nullopt;
}

const ChatMessage* ChatSession::last_answer() const {
  const auto last = std::find_if(state_.entries.rbegin(), state_.entries.rend(),
                                 [](const ChatEntry& entry) { return entry.message.role == Role::assistant; });
  return last == state_.entries.rend() ? nullptr : &last->message;
}

std::string ChatSession::undo() {
  const size_t at = last_question_at();
  require(at < state_.entries.size(), ErrorKind::usage, "nothing was asked that could be taken back");
  std::string question = std::move(state_.entries[at].message.content);
  state_.entries.erase(state_.entries.begin() + ptrdiff_t(at), state_.entries.end());
  return question;
}

int64_t ChatSession::drop() {
  int64_t dropped = 0;
  std::vector<ChatEntry>& entries = state_.entries;
  const auto needed = [&] {
    std::vector<ChatEntry> all = entries;
    if (waits_for_room()) all.push_back(waiting_->first);
    return count(all, true);
  };
  while (!entries.empty() && needed() > n_ctx() / 2) {
    entries.erase(entries.begin(), std::find_if(entries.begin() + 1, entries.end(), is_question));
    ++dropped;
  }
  return dropped;
}

}  // namespace hearth::cli
