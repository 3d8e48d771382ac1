// The options that every command with a model shares, and what they open.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/engine/load.h"
#include "runtime/engine/sampler.h"

namespace CLI {
class App;
}

namespace hearth {

class ChatTemplate;

namespace cli {

struct SessionOptions {
  LoadOptions load;
  int64_t ctx = 0;               // 0: the model's default; kWholeContext (numbers.h)
  std::string resident_experts;  // as typed; empty: as many as fit
  bool check = false, verbose = false;
  std::function<void()> header_read = {};           // the file is a model's, and now it is loaded
  std::function<void(double share)> progress = {};  // of loading, besides the bar: 0 to 1
};

// The model itself, the first word of its commands.
void add_model_option(CLI::App& command, SessionOptions& options);
void add_session_options(CLI::App& command, SessionOptions& options);

// load_model for whoever sits at a terminal: its notes become lines on standard error, its progress a bar. Catches
// interrupts from then on (terminal.h), also while it loads: throws Error(interrupted).
LoadedModel open_session(const SessionOptions& options);

// What a newcomer wants to know: the model, and where it runs. Two lines.
void print_summary(const LoadedModel& session);
// With -v: model, processor and table of kernels, context and its cache. No silent fallback.
void print_banner(const LoadedModel& session);
// With -v: how answers are sampled, and who recommends what was not given.
void print_sampling(const LoadedModel& session, const SamplerOptions& options, const ChatTemplate* format);
// What the device refused while the model ran, once; an error under --strict.
void tell_refusal(LoadedModel& session, const SessionOptions& options);
// The last lines, with experts in two memories: hits, bytes moved, GB/s of each side.
void print_report(const LoadedModel& session);

}  // namespace cli
}  // namespace hearth
