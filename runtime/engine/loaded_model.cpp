#include "runtime/engine/loaded_model.h"

#include <exception>
#include <utility>
#include <vector>

#include "kernels/cpu/backend.h"
#include "kernels/cuda/backend.h"
#include "runtime/offload/expert_cache.h"
#include "runtime/offload/expert_stats.h"
#include "runtime/offload/hybrid.h"

namespace hearth {

LoadedModel::~LoadedModel() {
  if (!model || !model->expert_cache() || statistics_path.empty()) return;
  try {
    const ExpertUse& use = model->expert_cache()->use();
    ExpertStats stats = no_expert_stats(model->file(), model->config());
    stats.tokens = use.tokens();
    stats.counts = use.counts();
    // Hints: not missed where they cannot be written.
    if (stats.tokens > 0) save_expert_stats(statistics_path, stats);
    keep_rates(this_machine(model->options().n_threads), stats.model_key, model->hybrid()->rates());
  } catch (const std::exception&) {
  }
}

std::string LoadedModel::new_refusal() {
  std::string refusal = model->options().device->refusal();
  if (refusal == told_refusal_) return {};
  told_refusal_ = refusal;
  return refusal;
}

std::string LoadedModel::gpu_text() const {
  if (gpu.empty()) return why_not_gpu.empty() ? "" : "none: " + why_not_gpu;
  return why_not_gpu.empty() ? gpu : gpu + ", " + why_not_gpu;
}

Sampler LoadedModel::sampler(const SamplerOptions& options) const {
  Sampler sampler(options);
  std::vector<Token> unused;
  // Rows of the head beyond the vocabulary, and entries that only pad it.
  for (int64_t id = 0; id < model->config().vocab_size; ++id)
    if (id >= int64_t(tokenizer->size()) || tokenizer->is_unused(Token(id))) unused.push_back(Token(id));
  sampler.forbid(std::move(unused));
  return sampler;
}

MeasuredOn this_machine(int n_threads) {
  return {.n_threads = n_threads, .cpu = cpu_description(), .gpu = open_gpu().description, .folder = cache_folder()};
}

// With experts on both sides no single memory is what decoding waits for.
void keep_decode_speed(const LoadedModel& loaded, const GenerateResult& result) {
  constexpr int64_t kEnough = 16;  // tokens
  const Model& model = *loaded.model;
  if (model.hybrid() || result.decode_steps < kEnough) return;
  keep_seen(this_machine(model.options().n_threads), model_key(model.file()),
            {.decoding = double(model.active_bytes()) * result.decode_rate(), .on_gpu = runs_on_gpu(model)});
}

}  // namespace hearth
