// A file that load_model opens, and a listener that remembers what it was told.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/engine/load.h"
#include "tests/runtime/model/tiny_model.h"
#include "tests/runtime/tokenizer/vocabulary.h"

namespace hearth::test {

// Nothing of it has to be guessed.
inline GgufMetadata whole_vocabulary() {
  GgufMetadata vocabulary = SmallVocabulary().metadata();
  vocabulary.set(key::kAddBosToken, GgufValue::of_bool(true));
  return vocabulary;
}

// A tiny model in a folder of its own. What is kept of this machine is kept in that folder too.
struct Loadable {
  TempDir folder;
  std::string path = folder / "tiny.gguf";

  explicit Loadable(const GgufMetadata& vocabulary = whole_vocabulary()) {
    setenv("XDG_CACHE_HOME", folder.path().c_str(), 1);
    TinyModel tiny;
    for (const auto& [key, value] : vocabulary.entries()) tiny.metadata.set(key, value);
    tiny.save(path);
  }
  LoadOptions options(DeviceChoice device = DeviceChoice::automatic) const {
    LoadOptions options;
    options.path = path;
    options.device = device;
    options.threads = 1;
    return options;
  }
};

// Notes, progress and errors in the order in which they came.
struct Told {
  std::vector<std::string> notes, titles;
  bool shown = false;  // progress that is not over
  uint64_t done = 0, total = 0;

  LoadListener listener() {
    LoadListener listener;
    listener.note = [this](std::string_view text) {
      CHECK_MESSAGE(!shown, "a note in the middle of a bar: ", std::string(text));
      notes.emplace_back(text);
    };
    listener.progress = [this](const LoadProgress& p) {
      if (!shown) titles.emplace_back(p.title);
      CHECK(titles.back() == p.title);
      CHECK(p.done <= p.total);
      CHECK(!p.what.empty());
      shown = true;
      done = p.done;
      total = p.total;
    };
    listener.progress_over = [this] { shown = false; };
    return listener;
  }
};

// What loading is refused with, after these notes.
inline std::string load_refusal(ErrorKind kind, const LoadOptions& options,
                                const std::vector<std::string>& notes = {}) {
  Told told;
  const std::string message = refusal(kind, [&] { load_model(options, told.listener()); });
  CHECK(told.notes == notes);
  return message;
}

// That it runs: some tokens, greedily.
inline std::vector<Token> some_answer(const LoadedModel& loaded) {
  Conversation conversation(*loaded.model, *loaded.tokenizer);
  Sampler sampler = loaded.sampler({.temperature = 0});
  const std::vector<Token> prompt = {5, 6, 7};
  return conversation.generate(prompt, sampler, {.max_tokens = 4, .ignore_eos = true}).tokens;
}

}  // namespace hearth::test
