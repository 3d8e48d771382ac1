// A recording of the router's choices: which experts each token used in each layer, with the sizes that a simulation
// needs. Little-endian:
//
//   offset  0  "HEARTHEX"
//           8  u32 version (1)
//          12  u32 n, bytes of the header
//          16  header, JSON: {"model": name, "layers": MoE layers, "experts": of each, "activated": K of them per
//          token,
//              "expert_bytes": [of one expert, by layer], "token_bytes": weights that every token reads besides,
//              "fixed_bytes": memory besides the experts: other weights, cache, working memory}
//      16 + n  steps, in order, to the end of the file:
//                u32 position of the first token in its context
//                u32 T tokens, run at once: 1 in decoding, a slice of the prompt before. With the highest bit set: the
//                    next tokens of T sequences that decode together
//                u16[layers][T][K] ids of the chosen experts
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "quant/error.h"
#include "quant/output_file.h"
#include "runtime/engine/model.h"

namespace hearth {

struct TraceShape {
  std::string model;
  int64_t n_layers = 0, n_experts = 0, n_activated = 0;
  std::vector<uint64_t> expert_bytes;  // [n_layers]
  uint64_t token_bytes = 0, fixed_bytes = 0;
};
// Throws Error(usage): no routed experts.
TraceShape trace_shape(const Model& model);

struct TraceStep {
  int64_t position = 0, n_tokens = 0;
  bool decodes = false;
  std::vector<uint16_t> ids;  // [n_layers][T][K]

  int64_t n_decoded() const { return decodes ? n_tokens : 0; }
};

struct ExpertTrace {
  TraceShape shape;
  std::vector<TraceStep> steps;
};

// Throws Error(file); Error(format): what is wrong in it, an expert beyond the model's among it.
ExpertTrace read_expert_trace(const std::string& path);
// The same with slices of the prompt as if they had been decoded, token by token.
ExpertTrace token_by_token(const ExpertTrace& trace);

// Writes steps as they come, as quant/output_file.h says. Destroyed unfinished, it leaves nothing.
class ExpertTraceWriter {
 public:
  ExpertTraceWriter(std::unique_ptr<OutputFile> file, TraceShape shape);
  ExpertTraceWriter(const std::string& path, TraceShape shape)  // throws Error(file)
      : ExpertTraceWriter(std::make_unique<OutputFile>(path), std::move(shape)) {}

  // MoE layer by layer, as ModelOptions::routed tells: ids [T,K]. A step whose layers did not all come is left out.
  // Throws nothing: what went wrong is told by finish.
  void add(int64_t layer, const StepKind& step, std::span<const int32_t> ids);
  int64_t n_steps() const { return n_steps_; }
  bool finish();  // throws Error(file): disk full. True: see OutputFile

 private:
  void write(const void* data, size_t bytes);

  std::unique_ptr<OutputFile> file_;
  TraceShape shape_;
  std::optional<Error> error_;  // of the first write that failed
  StepKind step_;
  int64_t n_steps_ = 0, next_layer_ = 0;
  std::vector<uint16_t> ids_;
};

}  // namespace hearth
