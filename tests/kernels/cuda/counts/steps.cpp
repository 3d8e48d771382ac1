// What a decoded token of published models is on a GPU: every launch, in order, of each kind of layer, and what it does
// to memory. The forward pass is recorded as a graph, over a file that has the model's true shapes and a hole for
// weights; then some blocks of each kernel are run.
#include <algorithm>
#include <map>
#include <numeric>
#include <regex>

#include <cuda_runtime.h>

#include <fmt/format.h>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/queue.h"
#include "runtime/model/forward.h"
#include "runtime/model/read_config.h"
#include "runtime/model/yarn.h"
#include "runtime/offload/local_experts.h"
#include "tests/emulation/device_memory.h"
#include "tests/emulation/queue.h"
#include "tests/emulation/settings.h"
#include "tests/emulation/traffic.h"
#include "tests/kernels/cuda/counts/counts.h"
#include "tests/runtime/offload/shape_file.h"
#include "tests/support/device_memory.h"
#include "tests/support/paths.h"

namespace hearth::test {
namespace {

using emulation::GridTraffic;
using emulation::OpKind;
using emulation::Traffic;

constexpr int64_t kContext = 4096;  // positions, all of which the token sees
constexpr size_t kSampled = 2;      // blocks of a launch
constexpr int kCache = 1, kFirstTensor = 2;

// A model of true shapes on the emulated GPU. Its weights are left in the file: what they are matters to nobody.
class ShapedModel {
 public:
  ShapedModel(const TrueShape& shape, const std::string& path)
      : file_(open(shape, path)),
        config_(read_config(file_)),
        weights_(load_weights(file_, config_, host_device(), true, {})),
        activations_(config_, *gpu_.device, 1),
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

  // The operations of a token, and how many there are before each layer, and before what comes behind the last.
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
    const WantedRow wanted[] = {{0, nullptr, {&best, 1}}};
    head(step_, weights_, wanted);
    check_cuda(cudaStreamEndCapture(stream, &r.graph), "recording");
    return r;
  }

  // Runs some blocks of a kernel, as if those before it had chosen the first experts for the last position, and had
  // given logits of which no two are alike.
  GridTraffic count(const emulation::Op& kernel, emulation::TrafficWatch& watch) {
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
    ScratchLimits limits = scratch_limits(config_, 1, kContext, 1);
    limits.multiprocessors = gpu_.device->multiprocessors();
    return limits;
  }

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
  Segment segment_{0, 1, kContext - 1};
  Step step_{.config = config_,
             .ops = *gpu_.ops,
             .exec = exec_,
             .device = *gpu_.device,
             .rope = rope_,
             .experts = experts_,
             .act = activations_.step(1),
             .at = {},
             .segments = {&segment_, 1}};
};

// The matrices that a kernel reads, and their format: "ffn_gate_exps+ffn_up_exps:Q4_K". Without any: "-".
std::string matrices(const ShapedModel& model, const Traffic& traffic) {
  std::string names, format;
  for (const auto& [region, sectors] : traffic.sectors) {
    if (region < kFirstTensor || model.tensor(region).shape.rank < 2) continue;
    const Tensor& t = model.tensor(region);
    std::string name = t.name.substr(0, t.name.rfind('.'));
    if (const size_t dot = name.rfind('.'); dot != name.npos) name.erase(0, dot + 1);
    names += (names.empty() ? "" : "+") + name;
    format = t.format->name;
  }
  return names.empty() ? "-" : names + ":" + format;
}

void print_row(const ShapedModel& model, const char* name, const std::string& part, const GridTraffic& grid) {
  const int64_t blocks = int64_t(grid.blocks.x) * grid.blocks.y * grid.blocks.z;
  const auto thousands = [&](int64_t n) { return double(n) * double(blocks) / double(grid.blocks_run) / 1000; };
  double weights = 0, cache = 0, others = 0, written = 0;
  for (const auto& [region, sectors] : grid.traffic.sectors) {
    double& read = region == kCache ? cache : region >= kFirstTensor ? weights : others;
    read += thousands(32 * sectors.read_once);
    written += thousands(32 * sectors.written);
  }
  const Traffic& t = grid.traffic;
  const int64_t conflicts = t.loads.conflicts + t.stores.conflicts + t.copies.conflicts + t.matrices.conflicts;
  fmt::print(
      "{:<7} {:<9} {:<12} {:<32} | {:>5} {:>4} {:>5} {:>9.1f} {:>7.1f} {:>8.1f} {:>7.1f} {:>8.2f} {:>8.2f} {:>6.1f} "
      "{:>2} {:>3}\n",
      name, part, std::regex_replace(grid.name, std::regex(" "), "_"), matrices(model, t), blocks,
      grid.threads.x * grid.threads.y * grid.threads.z, grid.shared_bytes, weights, cache, others, written,
      thousands(t.wavefronts()), thousands(conflicts), thousands(t.products), t.steps.reads, t.steps.waits);
}

void count_model(const TrueShape& shape) {
  const TempDir folder;
  ShapedModel model(shape, folder / "model.gguf");
  const ShapedModel::Recorded recorded = model.record();
  const auto& nodes = recorded.graph->nodes;
  emulation::TrafficWatch watch(model.regions());
  const emulation::DeviceMemory::Open open;
  const auto count = [&](const std::string& part, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      if (nodes[i]->kind == OpKind::kernel) print_row(model, shape.name, part, model.count(*nodes[i], watch));
    }
  };
  count("before", 0, recorded.layers.front());
  std::map<std::string, std::vector<size_t>> kinds;
  for (size_t i = 0; i + 1 < recorded.layers.size(); ++i) kinds[model.kind(i)].push_back(i);
  std::vector<std::vector<size_t>> in_order;
  for (const auto& [kind, layers] : kinds) in_order.push_back(layers);
  std::ranges::sort(in_order);
  for (const std::vector<size_t>& layers : in_order) {
    const size_t first = layers.front();
    count(fmt::format("{}xlayer{}", layers.size(), first), recorded.layers[first], recorded.layers[first + 1]);
  }
  // Behind the last layer, which is as long as the first of its kind, what that has left is taken up.
  const size_t last = recorded.layers.size() - 2, like_last = kinds[model.kind(last)].front();
  count("behind", recorded.layers[last] + recorded.layers[like_last + 1] - recorded.layers[like_last], nodes.size());
  const auto n = [&](OpKind kind) { return std::ranges::count(nodes, kind, [](const auto& op) { return op->kind; }); };
  fmt::print("{:<7} {:<9} {:<12} {:<32} | {:>5} {:>4}\n", shape.name, "token", "launches", "and_copies",
             n(OpKind::kernel), n(OpKind::copy));
  check_cuda(cudaGraphDestroy(recorded.graph), "the recording");
}

}  // namespace

void count_steps() {
  emulation::settings().multiprocessors = 132;  // an H100's and an H200's
  emulation::settings().sampled_blocks = kSampled;
  fmt::print(
      "# A decoded token at position {}, q4_k_m: every launch of each kind of layer. Of its blocks {} were run, and "
      "what is\n"
      "# in thousands taken times as many: KB of matrices, of the cache and of other memory read, each once a block, "
      "KB\n"
      "# written; wavefronts of shared memory, conflicts among them; mma. Then the slowest warp's reads and waits.\n"
      "# {:<5} {:<9} {:<12} {:<32} | {:>5} {:>4} {:>5} {:>9} {:>7} {:>8} {:>7} {:>8} {:>8} {:>6} {:>2} {:>3}\n",
      kContext - 1, kSampled, "model", "part", "kernel", "matrices", "block", "thr.", "smem", "weights", "cache",
      "others", "written", "wavefr.", "confl.", "mma", "r", "w");
  for (const TrueShape& shape : {TrueShape::lite(), TrueShape::v2(), TrueShape::v3()}) count_model(shape);
  emulation::settings().sampled_blocks = 0;
}

}  // namespace hearth::test
