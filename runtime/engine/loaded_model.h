// A model that is ready, with what belongs to it.
#pragma once

#include <memory>
#include <string>

#include "runtime/engine/conversation.h"
#include "runtime/engine/model.h"
#include "runtime/engine/sampler.h"
#include "runtime/offload/kept_figures.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth {

struct LoadedModel {
  std::unique_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;  // null where no text was needed
  double load_seconds = 0;
  std::string gpu;              // what it is; empty: there is none, or nobody asked
  std::string why_not_gpu;      // why the model is not there; empty: it is, or nobody asked
  std::string statistics_path;  // where use of experts is kept for the next time; empty: nowhere

  LoadedModel() = default;
  LoadedModel(LoadedModel&&) = default;
  LoadedModel& operator=(LoadedModel&&) = default;
  ~LoadedModel();  // keeps what was learned of the use of experts, and of the speed of prompts

  // What the device has refused since somebody last asked, in one line; empty: nothing new. (That no step is recorded
  // shows at the second token.)
  std::string new_refusal();
  // "emulated GPU, sm_89, 8.0 GiB", "none: ...", "..., too small"; empty: nobody asked.
  std::string gpu_text() const;
  Sampler sampler(const SamplerOptions& options) const;  // never chooses unused rows of the vocabulary

 private:
  std::string told_refusal_;
};

// To which machine figures belong that were measured.
MeasuredOn this_machine(int n_threads);

// Tells later plans how fast the model decoded here.
void keep_decode_speed(const LoadedModel& loaded, const GenerateResult& result);

}  // namespace hearth
