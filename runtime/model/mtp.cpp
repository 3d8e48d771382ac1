#include "runtime/model/mtp.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "quant/gguf_keys.h"
#include "runtime/model/read_config.h"
#include "runtime/model/tensor_role.h"
#include "runtime/model/weights.h"

namespace hearth {
namespace {

// What two files of one model must agree in.
struct Size {
  const char* name;
  int64_t (*of)(const ModelConfig& c);
};
constexpr Size kSizes[] = {
    {"layers before those for MTP", [](const ModelConfig& c) { return c.n_layers; }},
    {key::kEmbeddingLength, [](const ModelConfig& c) { return c.dim; }},
    {key::kVocabSize, [](const ModelConfig& c) { return c.vocab_size; }},
    {key::kHeadCount, [](const ModelConfig& c) { return c.n_heads; }},
    {key::kQLoraRank, [](const ModelConfig& c) { return c.q_lora_rank; }},
    {key::kKvLoraRank, [](const ModelConfig& c) { return c.kv_lora_rank; }},
    {key::kRopeDimensionCount, [](const ModelConfig& c) { return c.qk_rope_head_dim; }},
    {key::kKeyLengthMla, [](const ModelConfig& c) { return c.qk_head_dim(); }},
    {key::kValueLengthMla, [](const ModelConfig& c) { return c.v_head_dim; }},
    {key::kExpertCount, [](const ModelConfig& c) { return c.n_routed_experts; }},
    {key::kExpertSharedCount, [](const ModelConfig& c) { return c.n_shared_experts; }},
    {key::kExpertFeedForwardLength, [](const ModelConfig& c) { return c.moe_inter_dim; }},
};

// Models of one class have all sizes in common, and each its own norms, which no recipe rounds.
bool differ(const Tensor* a, const Tensor* b) {
  if (!a || !b || a->format != b->format || a->shape != b->shape || !a->data || !b->data) return false;
  return std::memcmp(a->data, b->data, a->bytes()) != 0;
}

void require_same_model(const GgufFile& model, const GgufFile& beside) {
  const ModelConfig expected = read_config(model), found = read_config(beside);
  for (const Size& size : kSizes) {
    require(size.of(found) == size.of(expected), ErrorKind::model,
            "{}: is an MTP layer of another model than {}: {}: expected {}, found {}", beside.path(), model.path(),
            size.name, size.of(expected), size.of(found));
  }
  require(!differ(model.find_tensor(name::kOutputNorm), beside.find_tensor(name::kOutputNorm)), ErrorKind::model,
          "{}: is an MTP layer of another model than {}: expected the same {}, found other values", beside.path(),
          model.path(), name::kOutputNorm);
}

}  // namespace

bool is_mtp_layer(const GgufFile& file, int64_t layer) {
  return file.find_tensor(name::in_layer(int(layer), name::kNextnEhProj)) ||
         file.find_tensor(name::in_layer(int(layer), name::kNextnEnorm)) ||
         file.find_tensor(name::in_layer(int(layer), name::kNextnHnorm));
}

int64_t first_layer_of_mtp_file(const GgufFile& file) {
  int64_t first = -1;
  for (const Tensor& t : file.tensors()) {
    const int64_t layer = layer_of(t.name);
    if (layer < 0) continue;
    if (!is_mtp_layer(file, layer)) return -1;
    first = first < 0 ? layer : std::min(first, layer);
  }
  return first;
}

void add_mtp_file(GgufFile& model, GgufFile beside) {
  const std::string path = beside.path();
  const int64_t first = first_layer_of_mtp_file(beside);
  require(first > 0, ErrorKind::model,
          "{}: expected a file with the layer for multi-token prediction alone (blk.N.* with {}), found {}", path,
          name::kNextnEhProj, first == 0 ? "it as layer 0" : "other layers or none");
  require_same_model(model, beside);
  require(!is_mtp_layer(model, first), ErrorKind::model, "{}: expected a model without layer {}, {} has it already",
          path, first, model.path());
  ModelConfig c = read_config(model);  // which tells more: a file without the first layers may not show its routing
  c.n_mtp_layers = read_config(beside).n_mtp_layers;
  for (const Tensor& t : beside.tensors()) {
    const int64_t layer = layer_of(t.name);
    require(layer < 0 || (layer >= c.n_layers && layer < c.n_layers + c.n_mtp_layers), ErrorKind::model,
            "{}: {}: expected layers {} to {}, behind the model's own", path, t.name, c.n_layers,
            c.n_layers + std::max<int64_t>(c.n_mtp_layers, 1) - 1);
  }
  check_mtp_layers(beside, c);
  model.include(std::move(beside), [](const Tensor& t) { return layer_of(t.name) >= 0; });
}

}  // namespace hearth
