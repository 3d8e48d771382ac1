// A session with the demo model, without a terminal.
#pragma once

#include <optional>
#include <string>

#include "runtime/cli/chat/chat_session.h"
#include "runtime/engine/load.h"
#include "tests/runtime/cli/hearth.h"

namespace hearth::test {

inline LoadedModel demo_loaded(int64_t n_ctx) {
  LoadOptions options;
  options.path = demo_model();
  options.device = DeviceChoice::cpu;
  options.threads = 1;
  options.n_ctx = n_ctx;
  return load_model(options);
}

inline cli::ChatSettings greedy() {
  cli::ChatSettings settings;
  settings.sampling.temperature = 0.0f;
  return settings;
}

struct DemoSession {
  LoadedModel model;
  cli::ChatSession session;

  explicit DemoSession(const cli::ChatSettings& settings = greedy(), int64_t n_ctx = 512,
                       const std::string& format = "")
      : model(demo_loaded(n_ctx)),
        session(model, *choose_chat_template(format, model.model->file().metadata(), *model.tokenizer), settings) {}

  cli::ChatSession* operator->() { return &session; }
  std::string said() const { return session.last_answer() ? session.last_answer()->content : ""; }
  std::string ask(const std::string& text) {
    session.ask(text, {});
    return said();
  }
  std::string again(const std::optional<std::string>& other_words = {}) {
    session.again(other_words, {});
    return said();
  }
};

// The message of the Error that `action` throws; empty if it throws none.
template <class Action>
std::string refused(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace hearth::test
