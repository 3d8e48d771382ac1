#include "runtime/offload/hybrid.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "kernels/watch.h"
#include "runtime/support/seconds_since.h"

namespace hearth {
namespace {

PrefillRates first_rates(PrefillRates rates, const ExpertCache& cache) {
  if (rates.copy_bandwidth == 0) rates.copy_bandwidth = cache.bandwidth();
  return rates;
}

size_t row_bytes(const ModelConfig& c) {
  return size_t(c.dim) * sizeof(float);
}

}  // namespace

Hybrid::Hybrid(const ModelConfig& config, const Sides& sides, const ScratchLimits& limits, ExpertPool& pool,
               ExpertCache& cache, const ReadAhead& read_ahead, HybridOptions options)
    : config_(config),
      sides_(sides),
      pool_(pool),
      cache_(cache),
      read_ahead_(read_ahead),
      options_(std::move(options)),
      stage_(pool, sides.device, sides.gpu, sides.gpu_exec),
      meter_(first_rates(options_.rates, cache)) {
  const size_t T = size_t(limits.max_tokens), K = size_t(limits.n_activated);
  const size_t x = aligned_bytes(T * row_bytes(config)), ids = aligned_bytes(T * K * sizeof(int32_t));
  crossing_ = SharedBuffer(sides.device, host_crossing_bytes(config, limits.max_tokens));
  x_ = reinterpret_cast<float*>(crossing_.data());
  y_ = reinterpret_cast<float*>(crossing_.data() + x);
  ids_ = reinterpret_cast<int32_t*>(crossing_.data() + 2 * x);
  weights_ = reinterpret_cast<float*>(crossing_.data() + 2 * x + ids);
  part_ = Buffer(sides.device, gpu_crossing_bytes(config, limits.max_tokens), "what the host's experts give");
  scratch_ = Buffer(host_device(), sides.host.scratch_bytes(limits), "the host's scratch memory");
  for (int64_t layer = 0; layer < config.n_layers; ++layer) turns_.push_back({this, layer});
}

void Hybrid::begin(const StepKind& step) {
  step_ = step;
  stage_.reset();
  sides_.device.fetch_in_small_pieces(step.decodes);
  if (!step.decodes) {
    awake_.reset();
  } else if (!awake_) {
    awake_.emplace();  // between two turns of the host lies what the GPU does before the experts of a layer
  }
  cache_.begin_step();
  pool_.publish();
}

Mat<const float> Hybrid::moe_ffn(int64_t layer, const LayerWeights& w, const Chosen& chosen, Mat<const float> x,
                                 Mat<float> y) {
  Device& device = sides_.device;
  const Ops& gpu = sides_.gpu;
  Exec exec = sides_.gpu_exec;
  const int64_t T = x.rows, K = chosen.n_activated;
  const Mat<float> part(reinterpret_cast<float*>(part_.data()), T, config_.dim);
  const Device::SmallMove to_host[] = {{chosen.ids, ids_, size_t(T * K) * sizeof(int32_t)},
                                       {chosen.weights, weights_, size_t(T * K) * sizeof(float)},
                                       {x.data, x_, size_t(T) * row_bytes(config_)}};
  if (step_.decodes) {
    device.move_small(to_host);
  } else {
    for (const Device::SmallMove& m : to_host) device.move(m.from, m.to, m.bytes);
  }

  const auto work = [](void* context) {
    const Turn& turn = *static_cast<Turn*>(context);
    turn.self->host_turn(turn.layer);
  };
  device.aside(work, &turns_[size_t(layer)]);
  exec.rounded = chosen.rounded;
  gpu.moe_ffn(exec, pool_.on_gpu(layer), w.shared, chosen.ids, chosen.weights, K, x, y);
  device.rejoin();
  if (!step_.decodes) add_copied(layer, chosen, x, y);  // a decoding step is recorded, and never worth a copy

  if (step_.decodes && device.reads_shared()) return {y_, T, config_.dim};  // is read where the host left it
  device.move(y_, part.data, size_t(T) * row_bytes(config_));
  gpu.add(exec, part, y);
  return {};
}

// Called between two operations of the GPU: nothing may be thrown through it.
void Hybrid::host_turn(int64_t layer) try {
  const std::span ids(ids_, size_t(step_.n_tokens * config_.routing.n_activated));
  // What a GPU that has failed leaves here is anything.
  for (const int32_t id : ids) {
    require(id >= 0 && id < config_.n_routed_experts, ErrorKind::resource,
            "layer {}: the router chose expert {} of {}: the GPU has failed", layer, id, config_.n_routed_experts);
  }
  n_copied_ = 0;
  if (!watch_goes_on()) return;  // what the others give is not to be used, nor to be counted
  if (options_.listener) options_.listener(layer, step_, ids);
  cache_.note(layer, ids, step_);
  counts_.chosen += ids.size();
  compute_on_host(layer, step_.decodes ? pool_.on_host(layer) : share_with_gpu(layer, ids), ids);
} catch (const std::exception& error) {
  if (failure_.empty()) failure_ = error.what();
}

// Begins to copy the experts that are not worth the host's time, and gives it the others.
FfnWeights Hybrid::share_with_gpu(int64_t layer, std::span<const int32_t> ids) {
  FfnWeights experts = pool_.on_host(layer);
  if (stage_.batch_size() == 0) return experts;
  std::vector<int32_t> n_tokens(size_t(config_.n_routed_experts));
  for (const int32_t id : ids) ++n_tokens[size_t(id)];
  std::vector<Wanted> wanted;
  const auto coming = stage_.on_their_way(layer);
  for (int32_t e = 0; e < config_.n_routed_experts; ++e) {
    if (n_tokens[size_t(e)] == 0 || experts.slots[e] < 0) continue;
    wanted.push_back({e, n_tokens[size_t(e)], std::ranges::find(coming, e) != coming.end()});
  }
  const PrefillShare share = share_experts(wanted, double(pool_.expert_bytes(layer)), meter_.rates(), options_.prefill);
  n_copied_ = share.copied.size();
  copied_before_ = stage_.bytes_copied();
  copies_began_ = std::chrono::steady_clock::now();
  stage_.begin(layer, share.copied);
  host_table_.assign(experts.slots, experts.slots + experts.n_slots);
  for (const int32_t e : share.copied) {
    host_table_[size_t(e)] = -1;
    counts_.staged += uint64_t(n_tokens[size_t(e)]);
  }
  experts.slots = host_table_.data();
  return experts;
}

void Hybrid::compute_on_host(int64_t layer, const FfnWeights& experts, std::span<const int32_t> ids) {
  const int64_t T = step_.n_tokens, K = config_.routing.n_activated;
  std::vector<bool> read(size_t(config_.n_routed_experts));
  int64_t n_experts = 0, n_pairs = 0, n_on_gpu = 0;
  for (const int32_t id : ids) {
    const bool resident = pool_.resident(layer, id), first = !read[size_t(id)], here = experts.slots[id] >= 0;
    read[size_t(id)] = true;
    counts_.on_gpu += resident;
    n_on_gpu += resident && first;
    n_pairs += here;
    n_experts += here && first;
  }
  read_ahead_.experts(experts, ids);
  const auto start = std::chrono::steady_clock::now();
  const Exec exec{sides_.n_threads, {scratch_.data(), scratch_.bytes()}, host_device().queue(), options_.reproducible};
  sides_.host.moe_ffn(exec, experts, {}, ids_, weights_, K, Mat<const float>(x_, T, config_.dim),
                      Mat<float>(y_, T, config_.dim));
  if (watch_stopped()) return;  // no rate to learn from
  const double seconds = seconds_since(start);
  counts_.on_host += uint64_t(n_pairs);
  const double bytes = double(pool_.expert_bytes(layer));
  meter_.host(n_experts, n_pairs, bytes, seconds);
  counts_.host_seconds += seconds;
  counts_.host_bytes += uint64_t(n_experts) * pool_.expert_bytes(layer);
  counts_.gpu_bytes += uint64_t(n_on_gpu) * pool_.expert_bytes(layer);
}

// y += what the copied experts give; and the next layer's begin to be copied.
void Hybrid::add_copied(int64_t layer, const Chosen& chosen, Mat<const float> x, Mat<float> y) {
  if (stage_.batch_size() == 0) return;
  const bool waited = stage_.compute(layer, chosen, x, {reinterpret_cast<float*>(part_.data()), x.rows, x.cols}, y);
  const uint64_t bytes = stage_.bytes_copied() - copied_before_;
  meter_.copied(double(bytes), seconds_since(copies_began_), waited);
  counts_.staged_bytes += bytes;
  const int64_t next = layer + 1;
  const bool ahead = options_.prefill == PrefillPolicy::stream || options_.prefill == PrefillPolicy::automatic;
  if (!ahead || n_copied_ == 0 || next >= config_.n_layers || !config_.is_moe(next)) return;
  std::vector<int32_t> absent = absent_experts(next);
  absent.resize(std::min(absent.size(), n_copied_));  // as many as this layer wanted
  stage_.prefetch(next, absent);
}

std::vector<int32_t> Hybrid::absent_experts(int64_t layer) const {
  std::vector<int32_t> absent;
  for (int32_t e = 0; e < config_.n_routed_experts; ++e)
    if (!pool_.resident(layer, e)) absent.push_back(e);
  return absent;
}

std::string Hybrid::take_failure() {
  return std::exchange(failure_, {});
}

}  // namespace hearth
