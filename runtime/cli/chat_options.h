// What `chat` and `run` share about conversations: the chat template, thinking, sampling.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/chat/chat_template.h"
#include "runtime/cli/answer_printer.h"
#include "runtime/cli/session.h"

namespace CLI {
class Option;
}

namespace hearth::cli {

struct ChatChoices {
  std::string chat_template, system;  // a built-in format's name or a file; a system message
  bool think = false, no_think = false, hide_thoughts = false;

  bool any() const { return !chat_template.empty() || !system.empty() || think || no_think || hide_thoughts; }
  ShowThoughts show() const { return hide_thoughts ? ShowThoughts::hidden : ShowThoughts::apart; }
  std::optional<bool> thinking() const {
    return think ? std::optional(true) : no_think ? std::optional(false) : std::nullopt;
  }
};

void add_chat_options(CLI::App& command, ChatChoices& choices);

// The longest answer, in tokens; -1: no limit.
CLI::Option* add_length_option(CLI::App& command, int64_t& max_tokens);

// Texts that end an answer, which is what stands before them.
CLI::Option* add_stop_option(CLI::App& command, std::vector<std::string>& stops);
// Throws Error(usage) that begins with `name`: an empty one, one that is not UTF-8.
void require_stops(const std::vector<std::string>& stops, const std::string& name = "--stop");

// Throws Error(usage) that begins with `name`, who wants thinking switched, and says why the template cannot.
void require_thinking_switch(const ChatTemplate& format, const std::string& name);

// The template of a conversation with this model. Throws Error(model): it has none (what helps is said), or one that
// cannot be read; Error(usage): thinking is to be switched and the template has no switch.
ChatTemplate chat_template_of(const LoadedModel& session, const ChatChoices& choices);

}  // namespace hearth::cli
