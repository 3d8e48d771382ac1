// --record-experts: what the router chooses goes into a file as it happens.
#pragma once

#include <memory>
#include <string>

#include "runtime/cli/session.h"
#include "runtime/eval/expert_trace.h"

namespace hearth::cli {

class ExpertRecorder {
 public:
  explicit ExpertRecorder(std::string path) : path_(std::move(path)) {}  // empty: nothing is recorded
  // Keeps the steps so far where `finish` was not reached: standard output was closed, the model's file went away.
  ~ExpertRecorder();
  ExpertRecorder(const ExpertRecorder&) = delete;
  ExpertRecorder& operator=(const ExpertRecorder&) = delete;

  // Before the session is opened, which the recorder is to outlive. Throws Error(file): it cannot be written;
  // Error(usage): "-". Catches interrupts, as there is something to clean up from then on.
  void listen(SessionOptions& options);
  void start(const Model& model);  // throws Error(usage): no routed experts
  // Throws Error(file): disk full; Error(resource): nothing was told, unless it was `stopped` before the first step,
  // which leaves no file.
  void finish(bool stopped);

 private:
  std::string path_;
  int64_t n_dense_ = 0;
  std::unique_ptr<OutputFile> file_;  // until there is a writer
  std::unique_ptr<ExpertTraceWriter> writer_;
};

}  // namespace hearth::cli
