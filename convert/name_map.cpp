#include "convert/name_map.h"

#include <algorithm>
#include <set>

#include "convert/coded_tensors.h"
#include "convert/foreign.h"
#include "convert/name_table.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace {

Shape without_first_axis(const Shape& shape) {
  switch (shape.rank) {
    case 3:
      return Shape(shape.dim[1], shape.dim[2]);
    case 2:
      return Shape(shape.dim[1]);
    default:
      return Shape();
  }
}

class Mapper {
 public:
  Mapper(const HfConfig& config, const Checkpoint& checkpoint) : c_(config), checkpoint_(checkpoint) {}

  NameMap map(bool keep_mtp) {
    const int64_t n_found = count_mtp_layers();
    const int64_t n_kept = keep_mtp ? n_found : 0;
    for (const PlacedRow& placed : placed_rows(c_, n_kept)) add(placed);
    settle_leftovers(n_kept, n_found);
    out_.n_mtp_layers = n_kept;
    if (n_kept < n_found) {
      out_.notes.push_back(fmt::format("{} multi-token-prediction layer{} of the checkpoint left out, as asked",
                                       n_found, n_found == 1 ? "" : "s"));
    }
    return std::move(out_);
  }

 private:
  // A configuration may announce MTP layers that the checkpoint does not hold (transformers saves it like that), or not
  // mention those that it does hold. Only MTP layers have an eh_proj.
  int64_t count_mtp_layers() {
    int64_t found = 0;
    for (int64_t i = 0; i < c_.n_mtp_layers; ++i) {
      const std::string prefix = fmt::format("model.layers.{}.", c_.n_layers + i);
      const auto it = checkpoint_.tensors().lower_bound(prefix);
      if (it != checkpoint_.tensors().end() && it->first.starts_with(prefix)) found = i + 1;
    }
    const int64_t announced = found;
    while (has_weight(checkpoint_.tensors(), fmt::format("model.layers.{}.eh_proj.weight", c_.n_layers + found)))
      ++found;
    if (found > announced) {
      out_.notes.push_back(
          fmt::format("layer {} is a multi-token-prediction layer by its weights, though config.json announces {}",
                      c_.n_layers + announced, c_.n_mtp_layers == 0 ? "none" : "fewer"));
    } else if (found == 0 && c_.n_mtp_layers > 0) {
      out_.notes.push_back(
          fmt::format("config.json announces {} multi-token-prediction layer{}, the checkpoint holds none",
                      c_.n_mtp_layers, c_.n_mtp_layers == 1 ? "" : "s"));
    }
    return found;
  }

  void add(const PlacedRow& placed) {
    const NameRow& row = *placed.row;
    const std::string hf = placed.hf();
    if (row.optional && !has_weight(checkpoint_.tensors(), hf)) return;
    OutputTensor out;
    out.name = placed.gguf();
    out.role = row.role;
    out.layer = placed.layer;
    out.mtp = placed.mtp;
    out.transform = row.transform;
    out.shape = placed.file_shape(c_);
    const int64_t n_sources = row.transform == Transform::stack ? c_.n_routed_experts : 1;
    const std::string fused = has_weight(checkpoint_.tensors(), of_expert(hf, 0)) ? "" : find_fused(placed);
    if (!fused.empty()) {
      out.sources = cut_experts(fused, row);
    } else {
      for (int64_t e = 0; e < n_sources; ++e) out.sources.push_back(source(of_expert(hf, e), row));
    }
    out_.tensors.push_back(std::move(out));
  }

  WeightSource source(const std::string& hf, const NameRow& row) {
    const Shape expected = row.shape(c_);
    WeightSource out;
    if (expected.rank == 2) out.coded = coded_weight(hf, expected);
    out.weight = out.coded ? out.coded->codes : checkpoint_.find(hf);
    if (out.coded) return out;
    if (!out.weight) {
      if (n_missing_++ == 0) first_missing_ = fmt::format("{} {}", hf, expected.text());
      return out;
    }
    use(hf);
    require_weight(*out.weight, expected);
    if (!out.weight->dtype->fp8) return out;
    require(expected.rank == 2, ErrorKind::model, "{}: expected BF16, F16 or F32 for a vector, found F8_E4M3",
            out.weight->place());
    out.scale = scale_of(*out.weight, hf);
    set_scale_blocks(out, expected.dim[0], c_.scale_block);
    return out;
  }

  // Null if the weight is no integer one.
  const CodedWeight* coded_weight(const std::string& hf, const Shape& shape) {
    CodedTensors found = find_coded_weight(checkpoint_.tensors(), c_.quantization, hf, shape.dim[0], shape.dim[1]);
    if (!found.weight) return nullptr;
    for (const std::string& name : found.names) use(name);
    out_.coded.push_back(std::move(found.weight));
    return out_.coded.back().get();
  }

  void require_weight(const SourceTensor& weight, const Shape& expected) const {
    require(weight.shape == expected, ErrorKind::model, "{}: expected {}, found {}", weight.place(), expected.text(),
            weight.shape.text());
    require(weight.dtype->usable(), ErrorKind::model, "{}: expected BF16, F16, F32 or F8_E4M3, found {}",
            weight.place(), weight.dtype->name);
  }

  const SourceTensor* scale_of(const SourceTensor& weight, const std::string& hf) {
    const bool inv = checkpoint_.find(hf + "_scale_inv");  // DeepSeek's name, though it is no inverse
    const std::string name = hf + (inv ? "_scale_inv" : "_scale");
    const SourceTensor* scale = checkpoint_.find(name);
    require(scale, ErrorKind::model, "{}: is F8_E4M3, but {}_scale_inv is missing, and {}_scale too", weight.place(),
            hf, hf);
    use(name);
    require_scale_type(*scale);
    return scale;
  }

  // The name of the tensor that holds the row's matrices of all experts; empty if there is none.
  std::string find_fused(const PlacedRow& placed) const {
    const std::string hf = placed.hf_fused();
    if (hf.empty()) return "";
    for (const std::string& name : {hf, hf + ".weight"}) {
      if (checkpoint_.find(name)) return name;
    }
    return "";
  }

  // The matrices of a row of the table, expert by expert, as parts of the tensor [E, parts * rows, cols] that holds
  // them all. Its scale has a first axis of experts too, or is the same for all.
  std::vector<WeightSource> cut_experts(const std::string& name, const NameRow& row) {
    const SourceTensor& fused = *checkpoint_.find(name);
    const Shape part = row.shape(c_);
    const int64_t experts = c_.n_routed_experts, rows = part.dim[0], all_rows = rows * row.fused.parts;
    use(name);
    require_weight(fused, Shape(experts, all_rows, part.dim[1]));
    const SourceTensor* scale = fused.dtype->fp8 ? scale_of(fused, name) : nullptr;
    const bool scale_per_expert = scale && scale->shape.rank > 0 && scale->shape.dim[0] == experts;
    std::vector<WeightSource> sources;
    for (int64_t e = 0; e < experts; ++e) {
      const int64_t first = e * all_rows + row.fused.part * rows;
      WeightSource source;
      source.weight = cut(fused, part, first * part.dim[1], fmt::format("{} expert {}", fused.name, e));
      if (scale) {
        const Shape of_expert = without_first_axis(scale->shape);
        source.scale = scale_per_expert ? cut(*scale, of_expert, e * value_count(of_expert), scale->name) : scale;
        source.scale_first_row = row.fused.part * rows;
        set_scale_blocks(source, all_rows, c_.scale_block);
      }
      sources.push_back(source);
    }
    return sources;
  }

  // A part of `whole`: the elements of `shape`, from element `first` on.
  const SourceTensor* cut(const SourceTensor& whole, const Shape& shape, int64_t first, std::string name) {
    const size_t bytes = whole.elem_bytes();
    SourceTensor piece = whole;
    piece.name = std::move(name);
    piece.shape = shape;
    piece.bytes = whole.bytes.subspan(size_t(first) * bytes, size_t(value_count(shape)) * bytes);
    out_.cuttings.push_back(std::make_unique<SourceTensor>(std::move(piece)));
    return out_.cuttings.back().get();
  }

  void use(const std::string& name) { known_.insert(checkpoint_.tensors().find(name)->first); }

  // Tensors that no row of the table used: either known to be of no use, or a sign that the model is not what
  // config.json says. The latter are refused rather than left out; if tensors are missing, the message names the
  // unknown ones too, since they show what the checkpoint has instead.
  void settle_leftovers(int64_t n_mtp_kept, int64_t n_mtp_found) {
    std::vector<const SourceTensor*> unknown;
    size_t n_rotary = 0, n_activation_scales = 0, n_zero_biases = 0;
    for (const auto& [name, tensor] : checkpoint_.tensors()) {
      if (known_.contains(name) || in_dropped_mtp(name, n_mtp_kept, n_mtp_found)) continue;
      if (name.ends_with(".rotary_emb.inv_freq")) {  // can be computed from the configuration
        ++n_rotary;
      } else if (is_activation_scale(name)) {  // activations and cache are quantized here without them, if at all
        ++n_activation_scales;
      } else if (c_.quantization.method == QuantMethod::gptq && name.ends_with(".bias") && is_zero(tensor)) {
        ++n_zero_biases;  // GPTQ's programs write them for layers that have none
      } else if (name == "lm_head.weight" && c_.tied_embeddings) {
        out_.notes.push_back("lm_head.weight left out: tie_word_embeddings makes the embedding the head");
      } else {
        unknown.push_back(&tensor);
      }
    }
    if (n_missing_ > 0) refuse_missing(unknown);
    if (!unknown.empty()) {
      fail(ErrorKind::model, "{}: {} not of a {} model with {} layers, the first: {}{}", checkpoint_.dir(),
           unknown.size() == 1 ? "1 tensor is" : fmt::format("{} tensors are", unknown.size()), c_.model_type,
           c_.n_layers, unknown.front()->description(), layout_hint(unknown));
    }
    if (n_rotary > 0) out_.notes.push_back(fmt::format("{} rotary_emb.inv_freq tensors left out", n_rotary));
    if (n_zero_biases > 0) out_.notes.push_back(fmt::format("{} biases that are zero left out", n_zero_biases));
    if (n_activation_scales > 0) {
      out_.notes.push_back(
          fmt::format("{} scales of activations and cache (input_scale and the like) left out: they are not used here",
                      n_activation_scales));
    }
  }

  static bool is_zero(const SourceTensor& tensor) {
    require_there(tensor);
    return std::ranges::all_of(tensor.bytes, [](std::byte byte) { return byte == std::byte{0}; });
  }

  [[noreturn]] void refuse_missing(const std::vector<const SourceTensor*>& unknown) const {
    const std::string found =
        unknown.empty()
            ? ""
            : fmt::format("; found instead {} tensor{} of another layout, the first: {}{}", unknown.size(),
                          unknown.size() == 1 ? "" : "s", unknown.front()->description(), layout_hint(unknown));
    fail(ErrorKind::model, "{}: {} missing, the first: {}{}", checkpoint_.dir(),
         n_missing_ == 1 ? "1 tensor is" : fmt::format("{} tensors are", n_missing_), first_missing_, found);
  }

  bool in_dropped_mtp(const std::string& name, int64_t n_kept, int64_t n_found) const {
    for (int64_t i = n_kept; i < n_found; ++i) {
      if (name.starts_with(fmt::format("model.layers.{}.", c_.n_layers + i))) return true;
    }
    return false;
  }

  const HfConfig& c_;
  const Checkpoint& checkpoint_;
  NameMap out_;
  std::set<std::string_view> known_;  // keys of checkpoint_.tensors()
  size_t n_missing_ = 0;
  std::string first_missing_;
};

}  // namespace

NameMap map_names(const HfConfig& config, const Checkpoint& checkpoint, bool keep_mtp) {
  return Mapper(config, checkpoint).map(keep_mtp);
}

}  // namespace hearth
