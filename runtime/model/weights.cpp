#include "runtime/model/weights.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "quant/gguf_keys.h"
#include "quant/interleaved.h"
#include "runtime/model/kv_layout.h"
#include "runtime/model/mtp.h"
#include "runtime/model/tensor_role.h"

namespace hearth {
namespace {

// n rows of every matrix, from `first` on: the halves of fused tensors.
Weight rows_of(Weight w, int64_t first, int64_t n) {
  w.data += size_t(first) * w.row_bytes;
  w.n = n;
  return w;
}

uint64_t bytes_of(const Weight& w) {
  return uint64_t(w.count) * uint64_t(w.n) * w.row_bytes;
}
uint64_t bytes_of(const FfnWeights& w) {
  return bytes_of(w.gate) + bytes_of(w.up) + bytes_of(w.down);
}

class Loader {
 public:
  using Progress = std::function<void(uint64_t done, uint64_t total)>;

  Loader(const GgufFile& file, const ModelConfig& config, Device* device, bool all, const Progress& progress)
      : file_(file), c_(config), device_(device), all_(all), progress_(progress) {}

  // Looks at all tensors, not at their bytes.
  std::vector<WeightSize> measure() {
    measures_ = true;
    look_up();
    return std::move(sizes_);
  }

  // Looks at those of the layers for MTP.
  void check_mtp() {
    measures_ = true;
    for (int64_t i = c_.n_layers; i < c_.n_layers + c_.n_mtp_layers; ++i) {
      layer_ = int(i);
      look_up_layer();
      matrix(here(name::kNextnEhProj), c_.dim, 2 * c_.dim);
      for (const char* norm : {name::kNextnEnorm, name::kNextnHnorm}) vector(here(norm), c_.dim);
      if (has(here(name::kNextnSharedHeadNorm))) vector(here(name::kNextnSharedHeadNorm), c_.dim);
      for (const char* copy : {name::kNextnEmbedTokens, name::kNextnSharedHeadHead}) {
        if (has(here(copy))) matrix(here(copy), c_.vocab_size, c_.dim);
      }
    }
  }

  // Those of the model's tensors that are in formats which are only listed.
  std::vector<const Tensor*> not_computed() {
    measure();
    return std::move(not_computed_);
  }

  // memory_bytes: as measured; 0: the weights are read where they lie.
  Weights load(uint64_t memory_bytes) {
    if (memory_bytes) out_.memory = Buffer(*device_, memory_bytes, "the weights");
    look_up();
    return std::move(out_);
  }

 private:
  void look_up() {
    refuse_mtp_file();
    out_.token_embd = matrix(name::kTokenEmbd, c_.vocab_size, c_.dim);
    out_.output_norm = vector(name::kOutputNorm, c_.dim);
    out_.output = has(name::kOutput) ? matrix(name::kOutput, c_.vocab_size, c_.dim) : out_.token_embd;
    out_.active_bytes += out_.token_embd.row_bytes + bytes_of(out_.output);
    for (int64_t i = 0; i < c_.n_layers; ++i) {
      layer_ = int(i);
      out_.layers.push_back(look_up_layer());
    }
    refuse_unknown_tensors();
  }

  LayerWeights look_up_layer() {
    LayerWeights w;
    load_attention(w);
    c_.is_moe(layer_) ? load_moe(w) : load_dense(w);
    return w;
  }

  // Files beside a model are opened by mistake.
  void refuse_mtp_file() const {
    const int64_t mtp = first_layer_of_mtp_file(file_);
    require(mtp < 0, ErrorKind::model,
            "{}: holds a layer for multi-token prediction (blk.{}) and no other, expected a model: it lies beside one",
            file_.path(), mtp);
  }

  std::string here(const char* role) const { return name::in_layer(layer_, role); }
  bool has(const std::string& tensor) const { return file_.find_tensor(tensor) != nullptr; }

  [[noreturn]] void refuse_shape(const Tensor& t, const Shape& expected) const {
    fail(ErrorKind::model, "{}: {}: expected {}, found {}", file_.path(), t.name, expected.text(), t.shape.text());
  }

  void use(const Tensor& t) {
    used_.insert(t.name);
    if (!t.format->computed()) not_computed_.push_back(&t);
  }

  const Tensor& find(const std::string& tensor, const Shape& expected) {
    const Tensor& t = file_.tensor(tensor);
    if (t.shape != expected) refuse_shape(t, expected);
    use(t);
    return t;
  }

  // Stacked matrices [count, n, k]; also accepted with the first two axes in one.
  const Tensor& find_stacked(const std::string& tensor, const Shape& expected) {
    const Tensor& t = file_.tensor(tensor);
    const bool flat = t.shape.rank == 2 && t.shape.cols() == expected.cols() && t.shape.rows() == expected.rows();
    if (t.shape != expected && !flat) refuse_shape(t, expected);
    use(t);
    return t;
  }

  Weight adopt(Tensor t, const Shape& shape) {
    t.shape = shape;
    if (measures_) sizes_.push_back({t.name, layer_, t.format, t.shape, t.extent});
    std::byte* const place = out_.memory.data() ? out_.memory.data() + memory_used_ : nullptr;
    memory_used_ += aligned_bytes(t.bytes());
    if (place) {
      copy(t, place);
      t.data = place;
    }
    return as_weight(t);
  }

  void copy(const Tensor& t, std::byte* to) {
    device_->move(t.data, to, t.bytes());
    const std::string failure = device_->finish();
    require(failure.empty(), ErrorKind::resource, "{}: {}", t.name, failure);
    out_.owned.clear();  // there now
    if (progress_) progress_(memory_used_, out_.memory.bytes());
  }

  Weight matrix(const std::string& tensor, int64_t n, int64_t k) {
    const Shape shape(n, k);
    return adopt(find(tensor, shape), shape);
  }
  Weight stacked(const std::string& tensor, int64_t count, int64_t n, int64_t k) {
    const Shape shape(count, n, k);
    return adopt(find_stacked(tensor, shape), shape);
  }
  Weight experts(const std::string& tensor, int64_t n, int64_t k) {
    if (all_) return stacked(tensor, c_.n_routed_experts, n, k);
    Tensor t = find_stacked(tensor, Shape(c_.n_routed_experts, n, k));
    t.shape = Shape(c_.n_routed_experts, n, k);
    return as_weight(t);
  }

  // Norms and biases: float32 for the operations, whatever the file has.
  const float* vector(const std::string& tensor, int64_t n) {
    Tensor t = find(tensor, Shape(n));
    out_.active_bytes += t.bytes();
    if (t.format->id != FormatId::f32) {
      std::byte* values = own(std::vector<std::byte>(size_t(n) * sizeof(float)));
      if (!measures_) t.format->decode(t.data, reinterpret_cast<float*>(values), n);
      t.format = &format_of(FormatId::f32);
      t.data = values;
    }
    return reinterpret_cast<const float*>(adopt(t, Shape(1, n)).data);
  }

  std::byte* own(std::vector<std::byte> bytes) { return out_.owned.emplace_back(std::move(bytes)).data(); }

  void load_attention(LayerWeights& w) {
    const int64_t q_width = c_.n_heads * c_.qk_head_dim(), v_width = c_.n_heads * c_.v_head_dim;
    w.attn_norm = vector(here(name::kAttnNorm), c_.dim);
    if (c_.q_lora_rank == 0) {
      w.attn_q = matrix(here(name::kAttnQ), q_width, c_.dim);
    } else {
      w.attn_q_a = matrix(here(name::kAttnQA), c_.q_lora_rank, c_.dim);
      w.attn_q_a_norm = vector(here(name::kAttnQANorm), c_.q_lora_rank);
      w.attn_q_b = matrix(here(name::kAttnQB), q_width, c_.q_lora_rank);
    }
    w.attn_kv_a_mqa = matrix(here(name::kAttnKvAMqa), c_.cache_width(), c_.dim);
    w.attn_kv_a_norm = vector(here(name::kAttnKvANorm), c_.kv_lora_rank);
    load_up_projections(w);
    w.attn_output = matrix(here(name::kAttnOutput), c_.dim, v_width);
    w.ffn_norm = vector(here(name::kFfnNorm), c_.dim);
    for (const Weight& part :
         {w.attn_q, w.attn_q_a, w.attn_q_b, w.attn_kv_a_mqa, w.attn_k_b, w.attn_v_b, w.attn_output}) {
      out_.active_bytes += bytes_of(part);
    }
  }

  void load_up_projections(LayerWeights& w) {
    const KvLayout layout = kv_layout(file_, layer_);
    if (layout != KvLayout::split) {
      const Shape unsplit(c_.n_heads * (c_.qk_nope_head_dim + c_.v_head_dim), c_.kv_lora_rank);
      const Tensor& kv_b = file_.tensor(here(name::kAttnKvB));
      if (kv_b.shape != unsplit) refuse_shape(kv_b, unsplit);
      if (layout == KvLayout::unsplit) return unsplit_kv_b(w, kv_b);
      used_.insert(kv_b.name);  // beside the two it is only in the file
    }
    w.attn_k_b = stacked(here(name::kAttnKB), c_.n_heads, c_.kv_lora_rank, c_.qk_nope_head_dim);
    w.attn_v_b = stacked(here(name::kAttnVB), c_.n_heads, c_.v_head_dim, c_.kv_lora_rank);
  }

  // W^UV is used where it lies, W^UK is transposed. Of a half-split layer what is unsplit is taken.
  void unsplit_kv_b(LayerWeights& w, const Tensor& kv_b) {
    const int64_t H = c_.n_heads, dn = c_.qk_nope_head_dim, dv = c_.v_head_dim, r = c_.kv_lora_rank;
    use(kv_b);
    used_.insert({here(name::kAttnKB), here(name::kAttnVB)});
    Tensor v_b{here(name::kAttnVB), kv_b.format, Shape(H, dv, r), nullptr, kv_b.extent / size_t(dn + dv) * size_t(dv)};
    if (out_.memory.data() || measures_) {
      if (!measures_) v_b.data = own(packed_values(kv_b, c_));
      w.attn_v_b = adopt(v_b, v_b.shape);
    } else {
      Tensor heads = kv_b;
      heads.shape = Shape(H, dn + dv, r);
      w.attn_v_b = rows_of(as_weight(heads), dn, dv);
    }
    Tensor k_b{here(name::kAttnKB), &transposed_format(*kv_b.format), Shape(H, r, dn), nullptr};
    if (!measures_) k_b.data = own(transposed_keys(kv_b, c_));
    w.attn_k_b = adopt(k_b, k_b.shape);
  }

  void load_dense(LayerWeights& w) {
    w.ffn = {matrix(here(name::kFfnGate), c_.inter_dim, c_.dim), matrix(here(name::kFfnUp), c_.inter_dim, c_.dim),
             matrix(here(name::kFfnDown), c_.dim, c_.inter_dim)};
    out_.active_bytes += bytes_of(w.ffn);
  }

  void load_moe(LayerWeights& w) {
    const int64_t E = c_.n_routed_experts, M = c_.moe_inter_dim;
    w.ffn_gate_inp = matrix(here(name::kFfnGateInp), E, c_.dim);
    if (has(here(name::kExpProbsB))) {
      require(c_.routing.score == Routing::Score::sigmoid, ErrorKind::model,
              "{}: {}: expected none with softmax routing ({})", file_.path(), here(name::kExpProbsB),
              key::kExpertGatingFunc);
      w.exp_probs_b = vector(here(name::kExpProbsB), E);
    }
    if (has(here(name::kFfnGateUpExps))) {
      const Weight gate_up = experts(here(name::kFfnGateUpExps), 2 * M, c_.dim);
      w.experts.gate = rows_of(gate_up, 0, M);
      w.experts.up = rows_of(gate_up, M, M);
    } else {
      w.experts.gate = experts(here(name::kFfnGateExps), M, c_.dim);
      w.experts.up = experts(here(name::kFfnUpExps), M, c_.dim);
    }
    w.experts.down = experts(here(name::kFfnDownExps), c_.dim, M);
    if (const int64_t S = c_.n_shared_experts * M; S > 0) {
      w.shared = {matrix(here(name::kFfnGateShexp), S, c_.dim), matrix(here(name::kFfnUpShexp), S, c_.dim),
                  matrix(here(name::kFfnDownShexp), c_.dim, S)};
    }
    out_.active_bytes += bytes_of(w.ffn_gate_inp) + bytes_of(w.shared) +
                         bytes_of(w.experts) / uint64_t(E) * uint64_t(c_.routing.n_activated);
  }

  // A tensor that we know nothing of may be a bias or a scale without which the result is wrong. MTP layers predict
  // further tokens and are not run.
  void refuse_unknown_tensors() const {
    for (const Tensor& t : file_.tensors()) {
      if (used_.contains(t.name)) continue;
      const int64_t layer = layer_of(t.name);
      require(layer >= c_.n_layers && layer < c_.n_layers + c_.n_mtp_layers, ErrorKind::model,
              "{}: {}: a tensor {} that this program does not know, and that may matter", file_.path(), t.name,
              t.shape.text());
    }
  }

  const GgufFile& file_;
  const ModelConfig& c_;
  Device* const device_;  // null: only looks at the file
  const bool all_;
  const Progress& progress_;
  bool measures_ = false;
  std::vector<WeightSize> sizes_;
  uint64_t memory_used_ = 0;  // of out_.memory
  int layer_ = -1;
  Weights out_;
  std::set<std::string, std::less<>> used_;
  std::vector<const Tensor*> not_computed_;
};

}  // namespace

Weights load_weights(const GgufFile& file, const ModelConfig& config, Device& device, bool all,
                     const std::function<void(uint64_t done, uint64_t total)>& progress) {
  const bool copies = device.memory().total > 0;
  return Loader(file, config, &device, all, progress).load(copies ? weight_bytes(file, config, all) : 0);
}

uint64_t weight_bytes(const GgufFile& file, const ModelConfig& config, bool all) {
  uint64_t bytes = 0;
  for (const WeightSize& weight : weight_sizes(file, config, all)) bytes += aligned_bytes(weight.bytes());
  return bytes;
}

void check_mtp_layers(const GgufFile& file, const ModelConfig& config) {
  Loader(file, config, nullptr, true, {}).check_mtp();
}

std::string not_computed(const GgufFile& file, const ModelConfig& config) {
  const std::vector<const Tensor*> tensors = Loader(file, config, nullptr, true, {}).not_computed();
  if (tensors.empty()) return "";
  const bool interleaved =
      std::ranges::any_of(tensors, [](const Tensor* t) { return Interleaved::of(uint32_t(t->format->id)) != nullptr; });
  return fmt::format(
      "{} tensor{} in formats that are not computed here: {}; the first is {}{}", tensors.size(),
      tensors.size() == 1 ? "" : "s", format_counts(tensors), tensors.front()->name,
      interleaved ? " (hearth quantize IN.gguf OUT.gguf --recipe keep takes interleaved rows apart)" : "");
}

std::vector<WeightSize> weight_sizes(const GgufFile& file, const ModelConfig& config, bool all) {
  return Loader(file, config, nullptr, all, {}).measure();
}

}  // namespace hearth
