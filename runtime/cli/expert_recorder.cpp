#include "runtime/cli/expert_recorder.h"

#include "quant/error.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {

ExpertRecorder::~ExpertRecorder() {
  try {
    finish(true);
  } catch (const Error& error) {
    note("hearth: {}\n", error.what());
  }
}

void ExpertRecorder::listen(SessionOptions& options) {
  if (path_.empty()) return;
  require(path_ != "-", ErrorKind::usage, "--record-experts: standard output is for the answer: expected a file");
  catch_interrupts();
  file_ = std::make_unique<OutputFile>(path_);
  options.load.routed = [this](int64_t layer, const StepKind& step, std::span<const int32_t> ids) {
    if (writer_) writer_->add(layer - n_dense_, step, ids);
  };
}

void ExpertRecorder::start(const Model& model) {
  if (path_.empty()) return;
  n_dense_ = model.config().n_dense_layers;
  writer_ = std::make_unique<ExpertTraceWriter>(std::move(file_), trace_shape(model));
}

void ExpertRecorder::finish(bool stopped) {
  const std::unique_ptr<ExpertTraceWriter> writer = std::move(writer_);
  if (!writer || (stopped && writer->n_steps() == 0)) return;
  require(writer->n_steps() > 0, ErrorKind::resource,
          "--record-experts: this device does not tell which experts it uses; try --device cpu");
  if (writer->finish()) note("hearth: {}: another program wrote it meanwhile; replaced\n", path_);
}

}  // namespace hearth::cli
