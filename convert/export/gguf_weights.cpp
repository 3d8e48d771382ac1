#include "convert/export/gguf_weights.h"

#include <set>
#include <string>

#include "convert/export/gguf_rows.h"
#include "convert/name_table.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {
namespace {

class GgufMapper {
 public:
  GgufMapper(const GgufFile& file, const HfConfig& config) : file_(file), c_(config) {}

  std::vector<ExportWeight> map() {
    int64_t n_mtp = 0;
    while (file_.find_tensor(name::in_layer(int(c_.n_layers + n_mtp), name::kNextnEhProj))) ++n_mtp;
    for (const PlacedRow& placed : placed_rows(c_, n_mtp)) add(placed);
    refuse_missing();
    refuse_unknown();
    return std::move(weights_);
  }

 private:
  void add(const PlacedRow& placed) {
    switch (placed.row->transform) {
      case Transform::copy:
        return add_copy(placed);
      case Transform::stack:
        return add_experts(placed);
      case Transform::k_part:
        return add_kv_b(placed);
      case Transform::v_part:
        return;  // with its other half
    }
  }

  void add_copy(const PlacedRow& placed) {
    const std::string gguf = placed.gguf();
    if (placed.row->optional && !file_.find_tensor(gguf)) return;
    if (const Tensor* tensor = find(gguf, placed.file_shape(c_))) push(placed, placed.hf(), *tensor, 0);
  }

  // One weight of each expert, from a tensor of all of them; that may have gate rows and up rows by turns.
  void add_experts(const PlacedRow& placed) {
    const Shape all = placed.file_shape(c_), one = placed.row->shape(c_);
    const std::string both = name::in_layer(int(placed.layer), name::kFfnGateUpExps);
    const bool up = placed.row->gguf == std::string_view(name::kFfnUpExps);
    const bool joined = placed.row->role == Role::expert_in && file_.find_tensor(both);
    const int64_t step = joined ? 2 * one.dim[0] : one.dim[0];
    const Tensor* tensor = joined ? find(both, Shape(all.dim[0], step, all.dim[2])) : find(placed.gguf(), all);
    if (!tensor) return;
    for (int64_t e = 0; e < all.dim[0]; ++e)
      push(placed, of_expert(placed.hf(), e), *tensor, e * step + (joined && up ? one.dim[0] : 0));
  }

  // Files that have it unsplit may have its halves, too: then what is unsplit is what the checkpoint had.
  void add_kv_b(const PlacedRow& placed) {
    const auto here = [&](const char* role) { return name::in_layer(int(placed.layer), role); };
    if (file_.find_tensor(here(name::kAttnKvB))) {
      for (const char* half : {name::kAttnKB, name::kAttnVB}) used_.insert(here(half));
      if (const Tensor* kv_b = find(here(name::kAttnKvB), placed.row->shape(c_))) push(placed, placed.hf(), *kv_b, 0);
      return;
    }
    const Tensor* k_b = find(here(name::kAttnKB), placed.file_shape(c_));
    const Tensor* v_b = find(here(name::kAttnVB), Shape(c_.n_heads, c_.v_head_dim, c_.kv_lora_rank));
    if (!k_b || !v_b) return;
    ExportWeight weight{placed.hf(), placed.row->role, placed.row->shape(c_), {}};
    weight.rows = std::make_unique<JoinedKvRows>(file_, *k_b, *v_b, c_.n_heads);
    weights_.push_back(std::move(weight));
  }

  void push(const PlacedRow& placed, std::string name, const Tensor& tensor, int64_t first_row) {
    ExportWeight weight{std::move(name), placed.row->role, placed.row->shape(c_), {}};
    weight.rows = std::make_unique<GgufRows>(file_, tensor, first_row, weight.shape.rows());
    weights_.push_back(std::move(weight));
  }

  // Stacked matrices may have their first two axes in one. Null: missing, which is said at the end.
  const Tensor* find(const std::string& gguf, const Shape& expected) {
    const Tensor* tensor = file_.find_tensor(gguf);
    if (!tensor) {
      if (n_missing_++ == 0) first_missing_ = fmt::format("{} {}", gguf, expected.text());
      return nullptr;
    }
    const bool flat = expected.rank == 3 && tensor->shape == Shape(expected.dim[0] * expected.dim[1], expected.dim[2]);
    require(tensor->shape == expected || flat, ErrorKind::model, "{}: {}: expected {}, found {}", file_.path(), gguf,
            expected.text(), tensor->shape.text());
    require(tensor->format->computed(), ErrorKind::model,
            "{}: {}: expected a format that is computed here, found {} (hearth quantize --recipe keep takes rows apart "
            "that are interleaved)",
            file_.path(), gguf, tensor->format->name);
    used_.insert(gguf);
    return tensor;
  }

  void refuse_missing() const {
    require(n_missing_ == 0, ErrorKind::model, "{}: {} missing, the first: {}", file_.path(),
            n_missing_ == 1 ? "1 tensor is" : fmt::format("{} tensors are", n_missing_), first_missing_);
  }

  void refuse_unknown() const {
    size_t n_unknown = 0;
    std::string first;
    for (const Tensor& tensor : file_.tensors()) {
      if (used_.contains(tensor.name)) continue;
      if (n_unknown++ == 0) first = fmt::format("{} {}", tensor.name, tensor.shape.text());
    }
    require(n_unknown == 0, ErrorKind::model, "{}: {} not of a model with {} layers, the first: {}", file_.path(),
            n_unknown == 1 ? "1 tensor is" : fmt::format("{} tensors are", n_unknown), c_.n_layers, first);
  }

  const GgufFile& file_;
  const HfConfig& c_;
  std::vector<ExportWeight> weights_;
  std::set<std::string, std::less<>> used_;
  size_t n_missing_ = 0;
  std::string first_missing_;
};

}  // namespace

std::vector<ExportWeight> weights_of_gguf(const GgufFile& file, const HfConfig& config) {
  return GgufMapper(file, config).map();
}

}  // namespace hearth
