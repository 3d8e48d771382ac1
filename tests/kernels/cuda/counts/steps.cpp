// What a step of published models is on a GPU: of a decoded token every launch, in order, of each kind of layer, and
// what it does to memory; of a slice of a prompt the number of launches. The forward pass is recorded as a graph, over
// a file that has the model's true shapes and a hole for weights; of a token's kernels some blocks are run.
#include <map>
#include <regex>

#include <fmt/format.h>

#include "tests/emulation/device_memory.h"
#include "tests/emulation/settings.h"
#include "tests/kernels/cuda/counts/counts.h"
#include "tests/kernels/cuda/counts/shaped_model.h"
#include "tests/support/paths.h"

namespace hearth::test {
namespace {

using emulation::GridTraffic;
using emulation::OpKind;
using emulation::Traffic;

constexpr size_t kSampled =
    24;  // blocks of a launch: as many as show the shares of matrices of which each block has one
constexpr int64_t kSlice = 512;  // tokens of a prompt

// The matrices that a kernel reads, by their formats and, if those are several, each one's share of the sectors:
// "attn_q:Q5_K", "ffn_gate_shexp+ffn_up_shexp:Q5_K:29%+ffn_gate_exps+ffn_up_exps:Q4_K:71%". Without any: "-".
std::string matrices(const ShapedModel& model, const Traffic& traffic) {
  struct Group {
    std::string names;
    int64_t sectors = 0;
  };
  std::vector<std::pair<std::string, Group>> formats;
  int64_t all = 0;
  for (const auto& [region, sectors] : traffic.sectors) {
    if (region < kFirstTensor || model.tensor(region).shape.rank < 2) continue;
    const Tensor& t = model.tensor(region);
    std::string name = t.name.substr(0, t.name.rfind('.'));
    if (const size_t dot = name.rfind('.'); dot != name.npos) name.erase(0, dot + 1);
    const auto same = [&](const auto& group) { return group.first == t.format->name; };
    auto found = std::ranges::find_if(formats, same);
    if (found == formats.end()) found = formats.insert(found, {t.format->name, {}});
    Group& group = found->second;
    group.names += (group.names.empty() ? "" : "+") + name;
    group.sectors += sectors.read_once;
    all += sectors.read_once;
  }
  std::string text;
  for (const auto& [format, group] : formats) {
    text += (text.empty() ? "" : "+") + group.names + ":" + format;
    if (formats.size() > 1) text += fmt::format(":{:.0f}%", 100 * double(group.sectors) / double(all));
  }
  return text.empty() ? "-" : text;
}

void print_row(const ShapedModel& model, const char* name, const std::string& part, const GridTraffic& grid) {
  const int64_t blocks = int64_t(grid.blocks.x) * grid.blocks.y * grid.blocks.z;
  const auto thousands = [&](int64_t n) { return double(n) * double(blocks) / double(grid.blocks_run) / 1000; };
  double weights = 0, cache = 0, others = 0, written = 0;
  for (const auto& [region, sectors] : grid.traffic.sectors) {
    const bool matrix = region >= kFirstTensor && model.tensor(region).shape.rank > 1;  // norms stay in L2
    double& read = region == kCache ? cache : matrix ? weights : others;
    read += thousands(32 * sectors.read_once);
    written += thousands(32 * sectors.written);
  }
  const Traffic& t = grid.traffic;
  const int64_t conflicts = t.loads.conflicts + t.stores.conflicts + t.copies.conflicts + t.matrices.conflicts;
  fmt::print(
      "{:<7} {:<9} {:<12} {:<75} | {:>5} {:>4} {:>5} {:>9.1f} {:>7.1f} {:>8.1f} {:>7.1f} {:>8.2f} {:>8.2f} {:>6.1f} "
      "{:>2} {:>3}\n",
      name, part, std::regex_replace(grid.name, std::regex(" "), "_"), matrices(model, t), blocks,
      grid.threads.x * grid.threads.y * grid.threads.z, grid.shared_bytes, weights, cache, others, written,
      thousands(t.wavefronts()), thousands(conflicts), thousands(t.products), t.steps.reads, t.steps.waits);
}

// Layers that are alike, by the first of each kind.
std::vector<std::vector<size_t>> kinds_of_layers(const ShapedModel& model, size_t n) {
  std::map<std::string, std::vector<size_t>> kinds;
  for (size_t i = 0; i < n; ++i) kinds[model.kind(i)].push_back(i);
  std::vector<std::vector<size_t>> in_order;
  for (const auto& [kind, layers] : kinds) in_order.push_back(layers);
  std::ranges::sort(in_order);
  return in_order;
}

std::string part_name(const std::vector<size_t>& layers) {
  return fmt::format("{}xlayer{}", layers.size(), layers.front());
}

void print_launches(const char* model, const std::string& part, const ShapedModel::Recorded& recorded, size_t begin,
                    size_t end) {
  const std::span nodes(recorded.graph->nodes.data() + begin, end - begin);
  const auto n = [&](OpKind kind) { return std::ranges::count(nodes, kind, [](const auto& op) { return op->kind; }); };
  fmt::print("{:<7} {:<9} {:<12} {:<75} | {:>5} {:>4}\n", model, part, "launches", "and_copies", n(OpKind::kernel),
             n(OpKind::copy));
}

void count_token(const TrueShape& shape) {
  const TempDir folder;
  ShapedModel model(shape, folder / "model.gguf", 1);
  const ShapedModel::Recorded recorded = model.record();
  const std::vector<size_t>& begins = recorded.layers;
  emulation::TrafficWatch watch(model.regions());
  const emulation::DeviceMemory::Open open;
  const auto count = [&](const std::string& part, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const emulation::Op& op = *recorded.graph->nodes[i];
      if (op.kind == OpKind::kernel) print_row(model, shape.name, part, model.count(op, watch));
    }
  };
  count("before", 0, begins.front());
  size_t left = begins[begins.size() - 2];  // what the last layer has left is taken up behind it
  for (const std::vector<size_t>& layers : kinds_of_layers(model, begins.size() - 1)) {
    const size_t first = layers.front();
    count(part_name(layers), begins[first], begins[first + 1]);
    if (layers.back() == begins.size() - 2) left += begins[first + 1] - begins[first];
  }
  count("behind", left, recorded.graph->nodes.size());
  print_launches(shape.name, "token", recorded, 0, recorded.graph->nodes.size());
  check_cuda(cudaGraphDestroy(recorded.graph), "the recording");
}

void count_slice(const TrueShape& shape) {
  const TempDir folder;
  ShapedModel model(shape, folder / "model.gguf", kSlice);
  const ShapedModel::Recorded recorded = model.record();
  const std::string name = fmt::format("{}:{}", shape.name, kSlice);
  for (const std::vector<size_t>& layers : kinds_of_layers(model, recorded.layers.size() - 1)) {
    const size_t first = layers.front();
    print_launches(name.c_str(), part_name(layers), recorded, recorded.layers[first], recorded.layers[first + 1]);
  }
  print_launches(name.c_str(), "slice", recorded, 0, recorded.graph->nodes.size());
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
      "# {:<5} {:<9} {:<12} {:<75} | {:>5} {:>4} {:>5} {:>9} {:>7} {:>8} {:>7} {:>8} {:>8} {:>6} {:>2} {:>3}\n",
      kContext - 1, kSampled, "model", "part", "kernel", "matrices", "block", "thr.", "smem", "weights", "cache",
      "others", "written", "wavefr.", "confl.", "mma", "r", "w");
  for (const TrueShape& shape : {TrueShape::lite(), TrueShape::v2(), TrueShape::v3()}) count_token(shape);
  for (const TrueShape& shape : {TrueShape::lite(), TrueShape::v2()}) count_slice(shape);
  emulation::settings().sampled_blocks = 0;
}

}  // namespace hearth::test
