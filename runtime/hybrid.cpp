#include "runtime/hybrid.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>

namespace hearth {
namespace {

constexpr size_t kAlign = 64;

size_t aligned(size_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

size_t row_bytes(const ModelConfig& c) {
  return size_t(c.dim) * sizeof(float);
}

}  // namespace

SharedBuffer::SharedBuffer(const Ops& ops, size_t bytes) : ops_(&ops), bytes_(bytes) {
  data_ = ops.shared_buffer(bytes);
  require(data_ != nullptr, ErrorKind::resource, "out of memory: {} bytes are needed for what crosses to the GPU",
          bytes);
}
SharedBuffer::~SharedBuffer() {
  if (data_) ops_->release_shared(data_, bytes_);
}
SharedBuffer::SharedBuffer(SharedBuffer&& other) noexcept {
  *this = std::move(other);
}
SharedBuffer& SharedBuffer::operator=(SharedBuffer&& other) noexcept {
  std::swap(ops_, other.ops_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

size_t Hybrid::gpu_bytes_for(const ModelConfig& config, int64_t ubatch) {
  return std::max<size_t>(64, size_t(ubatch) * row_bytes(config));
}

Hybrid::Hybrid(const ModelConfig& config, const Sides& sides, const ScratchLimits& limits, ExpertPool& pool,
               const ModelOptions& options)
    : config_(config), sides_(sides), pool_(pool), options_(options) {
  const size_t T = size_t(limits.max_tokens), K = size_t(limits.n_activated);
  const size_t x = aligned(T * row_bytes(config)), ids = aligned(T * K * sizeof(int32_t));
  crossing_ = SharedBuffer(sides.gpu, 2 * x + 2 * ids);
  x_ = reinterpret_cast<float*>(crossing_.data());
  y_ = reinterpret_cast<float*>(crossing_.data() + x);
  ids_ = reinterpret_cast<int32_t*>(crossing_.data() + 2 * x);
  weights_ = reinterpret_cast<float*>(crossing_.data() + 2 * x + ids);
  part_ = Buffer(sides.gpu, gpu_bytes_for(config, limits.max_tokens), "what the host's experts give");
  scratch_ = Buffer(sides.host, sides.host.scratch_bytes(limits), "the host's scratch memory");
  for (int64_t layer = 0; layer < config.n_layers; ++layer) turns_.push_back({this, layer});
}

void Hybrid::begin(int64_t n_tokens, int64_t position) {
  n_tokens_ = n_tokens;
  position_ = position;
  pool_.publish(sides_.gpu_exec);
}

void Hybrid::moe_ffn(const Step& s, int64_t layer, const FfnWeights& shared, Mat<const float> x, Mat<float> y) {
  const int64_t T = s.n_tokens(), K = config_.routing.n_activated;
  const Mat<float> part(reinterpret_cast<float*>(part_.data()), T, config_.dim);
  s.ops.move(s.exec, s.act.ids, ids_, size_t(T * K) * sizeof(int32_t));  // -> host
  s.ops.move(s.exec, s.act.weights, weights_, size_t(T * K) * sizeof(float));
  s.ops.move(s.exec, x.data, x_, size_t(T) * row_bytes(config_));

  const auto work = [](void* context) {
    const Turn& turn = *static_cast<Turn*>(context);
    turn.self->host_turn(turn.layer);
  };
  s.ops.aside(s.exec, work, &turns_[size_t(layer)]);
  s.ops.moe_ffn(s.exec, pool_.on_gpu(layer), shared, s.act.ids, s.act.weights, K, x, y);
  s.ops.rejoin(s.exec);

  s.ops.move(s.exec, y_, part.data, size_t(T) * row_bytes(config_));  // -> GPU
  s.ops.add(s.exec, part, y);
}

// Called between two operations of the GPU: nothing may be thrown through it.
void Hybrid::host_turn(int64_t layer) try {
  const int64_t T = n_tokens_, K = config_.routing.n_activated;
  const std::span ids(ids_, size_t(T * K));
  // What a GPU that has failed leaves here is anything.
  for (const int32_t id : ids) {
    require(id >= 0 && id < config_.n_routed_experts, ErrorKind::resource,
            "layer {}: the router chose expert {} of {}: the GPU has failed", layer, id, config_.n_routed_experts);
  }
  if (options_.routed) options_.routed(layer, position_, ids);
  uint64_t resident = 0;
  for (const int32_t id : ids) resident += pool_.resident(layer, id);
  counts_.chosen += ids.size();
  counts_.on_gpu += resident;

  const auto start = std::chrono::steady_clock::now();
  const Exec exec{sides_.n_threads, {scratch_.data(), scratch_.bytes()}, sides_.host.stream};
  sides_.host.moe_ffn(exec, pool_.on_host(layer), {}, ids_, weights_, K, Mat<const float>(x_, T, config_.dim),
                      Mat<float>(y_, T, config_.dim));
  counts_.host_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  counts_.host_bytes += (ids.size() - resident) * pool_.expert_bytes(layer);
} catch (const std::exception& error) {
  if (failure_.empty()) failure_ = error.what();
}

std::string Hybrid::take_failure() {
  return std::exchange(failure_, {});
}

}  // namespace hearth
