#include "runtime/cli/expert_recorder.h"

#include "quant/error.h"
#include "runtime/cli/terminal.h"

namespace hearth::cli {

ExpertRecorder::~ExpertRecorder() {
  if (!writer_ || writer_->n_steps() == 0) return;
  try {
    writer_->finish();
  } catch (const Error& error) {
    note("hearth: {}\n", error.what());
  }
}

void ExpertRecorder::listen(SessionOptions& options) {
  if (path_.empty()) return;
  options.routed = [this](int64_t layer, int64_t position, std::span<const int32_t> ids) {
    if (writer_) writer_->add(layer - n_dense_, position, ids);
  };
}

void ExpertRecorder::start(const Model& model) {
  if (path_.empty()) return;
  n_dense_ = model.config().n_dense_layers;
  writer_ = std::make_unique<ExpertTraceWriter>(path_, trace_shape(model));
}

void ExpertRecorder::finish(bool stopped) {
  const std::unique_ptr<ExpertTraceWriter> writer = std::move(writer_);
  if (!writer || (stopped && writer->n_steps() == 0)) return;
  require(writer->n_steps() > 0, ErrorKind::resource,
          "--record-experts: this device does not tell which experts it uses; try --device cpu");
  writer->finish();
}

}  // namespace hearth::cli
