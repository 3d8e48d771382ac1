// A model of published shapes on the emulated GPU, of which steps can be recorded and their kernels be counted one by
// one.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include <cuda_runtime.h>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/queue.h"
#include "runtime/model/forward.h"
#include "runtime/model/read_config.h"
#include "runtime/offload/local_experts.h"
#include "tests/emulation/queue.h"
#include "tests/emulation/traffic.h"
#include "tests/runtime/offload/shape_file.h"
#include "tests/support/device_memory.h"

namespace hearth::test {

inline constexpr int64_t kContext = 4096;           // positions, all of which the last token sees
inline constexpr int kCache = 1, kFirstTensor = 2;  // regions of memory (traffic.h)

// A model of true shapes on the emulated GPU. Its weights are left in the file: what they are matters to nobody.
class ShapedModel {
 public:
  // Steps are of T tokens, the last that the context has room for.
  ShapedModel(const TrueShape& shape, const std::string& path, int64_t T)
      : T_(T),
        file_(open(shape, path)),
        config_(read_config(file_)),
        weights_(load_weights(file_, config_, host_device(), true, {})),
        activations_(config_, *gpu_.device, T),
        scratch_(*gpu_.device, gpu_.ops->scratch_bytes(limits()), "scratch"),
        exec_{1, {scratch_.data(), scratch_.bytes()}, gpu_.device->queue()},
        angles_(*gpu_.device, size_t(kContext * config_.qk_rope_head_dim) * sizeof(float), "angles"),
        latents_(config_, *gpu_.device, FormatId::bf16, LatentPool::pages_for(kContext)),
        pages_(latents_.n_pages()) {
    std::iota(pages_.begin(), pages_.end(), 0);
    table_ = DeviceArray<int32_t>(pages_);
    step_.at = {.ids = step_.act.positions,
                .sequences = step_.act.sequences,
                .pages = table_,
                .page_stride = int64_t(pages_.size()),
                .bound = kContext};
  }

  // What runs of a layer depends on: its kind, and its matrices' formats.
  std::string kind(size_t layer) const {
    const LayerWeights& w = weights_.layers[layer];
    std::string text;
    for (const Weight* part : {&w.attn_q, &w.attn_q_a, &w.attn_q_b, &w.attn_kv_a_mqa, &w.attn_k_b, &w.attn_v_b,
                               &w.attn_output, &w.ffn.gate, &w.ffn.up, &w.ffn.down, &w.experts.gate, &w.experts.up,
                               &w.experts.down, &w.shared.gate, &w.shared.up, &w.shared.down}) {
      text += part->format ? std::string(part->format->name) + " " : "- ";
    }
    return text + (layer == 0 ? "first" : "");
  }

  // The operations of a step, and how many there are before each layer, and before what comes behind the last.
  struct Recorded {
    cudaGraph_t graph = nullptr;
    std::vector<size_t> layers;
  };
  Recorded record() {
    Recorded r;
    const cudaStream_t stream = static_cast<const gpu::Queue*>(gpu_.device->queue())->stream;
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "recording");
    forward(step_, weights_, latents_, [&](int64_t) {
      r.layers.push_back(stream->capture->nodes.size());
      return true;
    });
    r.layers.push_back(stream->capture->nodes.size());
    Entry best;
    const WantedRow wanted[] = {{T_ - 1, nullptr, {&best, 1}}};
    head(step_, weights_, wanted);
    check_cuda(cudaStreamEndCapture(stream, &r.graph), "recording");
    return r;
  }

  // Runs some blocks of a kernel, as if those before it had chosen the first experts for the last position, and had
  // given logits of which no two are alike.
  emulation::GridTraffic count(const emulation::Op& kernel, emulation::TrafficWatch& watch) {
    std::vector<int32_t> ids(size_t(config_.routing.n_activated));
    std::iota(ids.begin(), ids.end(), 0);
    const int32_t zero = 0, position = kContext - 1;
    std::ranges::copy(ids, step_.act.ids);
    *step_.act.tokens = *step_.act.sequences = zero;
    *step_.act.positions = position;
    for (int64_t i = 0; i < config_.vocab_size; ++i) step_.act.logits.row(0)[i] = float(i * 7919 % 104729) / 104729;
    check_cuda((*kernel.run)(), "a kernel");
    return watch.take().back();
  }

  // The tensors, by number from kFirstTensor on, and the cache.
  std::vector<emulation::Region> regions() const {
    std::vector<emulation::Region> all = {{latents_.layer(0).data, latents_.bytes(), kCache}};
    for (const Tensor& t : file_.tensors()) all.push_back({t.data, t.bytes(), kFirstTensor + int(all.size()) - 1});
    return all;
  }
  const Tensor& tensor(int region) const { return file_.tensors()[size_t(region - kFirstTensor)]; }

 private:
  static GgufFile open(const TrueShape& shape, const std::string& path) {
    ShapeFile(shape, "q4_k_m").write(path);
    return GgufFile::open(path);
  }
  ScratchLimits limits() const {
    ScratchLimits limits = scratch_limits(config_, T_, kContext, 1);
    limits.multiprocessors = gpu_.device->multiprocessors();
    return limits;
  }

  const int64_t T_;
  const Gpu& gpu_ = open_gpu();
  GgufFile file_;
  ModelConfig config_;
  Weights weights_;
  ActivationMemory activations_;
  Buffer scratch_;
  Exec exec_;
  Buffer angles_;
  LatentPool latents_;
  std::vector<int32_t> pages_;
  DeviceArray<int32_t> table_;
  RopeTable rope_{reinterpret_cast<const float*>(angles_.data()), kContext, config_.qk_rope_head_dim};
  ReadAhead read_ahead_{file_, false};
  RoutingListener nobody_;
  LocalExperts experts_{*gpu_.ops, exec_, read_ahead_, nobody_, false};
  Segment segment_{0, T_, kContext - T_};
  Step step_{.config = config_,
             .ops = *gpu_.ops,
             .exec = exec_,
             .device = *gpu_.device,
             .rope = rope_,
             .experts = experts_,
             .act = activations_.step(T_),
             .at = {},
             .segments = {&segment_, 1}};
};

}  // namespace hearth::test
