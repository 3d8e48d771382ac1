#include "convert/quantize.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>

#include "convert/importance.h"
#include "convert/name_table.h"
#include "convert/recipe.h"
#include "convert/row_encoder.h"
#include "convert/size_target.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"
#include "quant/interleaved.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

// "blk.12.attn_q.weight" -> 12 and "attn_q.weight"; what belongs to no layer: -1 and the whole name.
struct LayerName {
  int64_t layer = -1;
  std::string_view within;
};
LayerName split_name(std::string_view name) {
  constexpr std::string_view kBlock = "blk.";
  if (!name.starts_with(kBlock)) return {-1, name};
  LayerName found;
  const char* const first = name.data() + kBlock.size();
  const auto [end, error] = std::from_chars(first, name.data() + name.size(), found.layer);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return {-1, name};
  found.within = name.substr(size_t(end + 1 - name.data()));
  return found;
}

// Of the tensors that we write, and of those that other programs write instead; none: a tensor that nobody knows.
std::optional<Role> role_of(std::string_view within) {
  if (within == name::kAttnKvB) return Role::latent;
  if (within == name::kFfnGateUpExps) return Role::expert_in;
  for (const NameRow& row : name_table()) {
    if (within == row.gguf) return row.role;
  }
  return std::nullopt;
}

// The rows of a tensor in another format.
class Requantizer : public RowMaker {
 public:
  Requantizer(const GgufFile& file, const Tensor& tensor, const Format& format, ColumnWeights importance)
      : file_(file),
        tensor_(tensor),
        format_(format),
        importance_(std::move(importance)),
        interleaved_(Interleaved::of(uint32_t(tensor.format->id))),
        part_(file.part_of(tensor.data)) {}

  int64_t unit() const override { return interleaved_ ? interleaved_->rows() : 1; }
  void encode(int64_t first, int64_t n, Scratch& scratch, std::byte* blocks) const override {
    const std::byte* source = rows(first, n).data();
    if (interleaved_) {
      scratch.aligned.resize(rows(first, n).size());
      take_apart(first, n, scratch.aligned.data());
      source = scratch.aligned.data();
    }
    const Format& from = interleaved_ ? interleaved_->plain() : *tensor_.format;
    const int64_t cols = tensor_.shape.cols();
    if (&from == &format_) {
      std::memcpy(blocks, source, size_t(n) * from.bytes(cols));
      return;
    }
    scratch.rows.resize(size_t(cols));
    for (int64_t i = first; i < first + n; ++i, blocks += format_.bytes(cols), source += from.bytes(cols)) {
      from.decode(source, scratch.rows.data(), cols);
      check_finite(scratch.rows, i);
      if (format_.id == FormatId::f16) clamped_ += count_beyond_f16(scratch.rows.data(), cols);
      format_.encode(scratch.rows.data(), importance_.of_row(i), blocks, cols);
    }
  }
  int64_t n_clamped() const override { return clamped_; }

  uint64_t source_bytes(int64_t first, int64_t n) const override { return rows(first, n).size(); }
  void will_need(int64_t first, int64_t n) const override {
    if (part_) part_->will_need(rows(first, n));
  }
  void dont_need(int64_t first, int64_t n) const override {
    if (part_) part_->dont_need(rows(first, n));
  }
  void release() const override {
    if (part_) part_->release(rows(0, tensor_.shape.rows()));
  }

 private:
  void take_apart(int64_t first, int64_t n, std::byte* to) const {
    const int64_t cols = tensor_.shape.cols(), step = interleaved_->rows();
    for (int64_t i = first; i < first + n; i += step, to += size_t(step) * interleaved_->plain().bytes(cols)) {
      interleaved_->take_apart(rows(i, step).data(), cols, to);
    }
  }
  std::span<const std::byte> rows(int64_t first, int64_t n) const {
    return {tensor_.data + size_t(first) * tensor_.row_bytes(), size_t(n) * tensor_.row_bytes()};
  }
  void check_finite(const std::vector<float>& row, int64_t i) const {
    const auto bad = std::ranges::find_if(row, [](float x) { return !std::isfinite(x); });
    if (bad == row.end()) return;
    fail(ErrorKind::format, "{}: tensor {}: expected finite weights, found {} in row {}, column {}", file_.path(),
         tensor_.name, *bad, i, bad - row.begin());
  }

  const GgufFile& file_;
  const Tensor& tensor_;
  const Format& format_;
  const ColumnWeights importance_;
  std::unique_ptr<Interleaved> interleaved_;  // null: it is not
  const MappedFile* part_;
  mutable std::atomic<int64_t> clamped_ = 0;
};

// What a file that keeps its formats has: that of the tensor's rows, taken apart where they are interleaved. null:
// nothing that is computed here.
const Format* kept_format(const Tensor& tensor) {
  if (tensor.format->computed()) return tensor.format;
  const auto interleaved = Interleaved::of(uint32_t(tensor.format->id));
  const int64_t rows = tensor.shape.rows() / (tensor.shape.rank == 3 ? tensor.shape.dim[0] : 1);
  const bool whole = interleaved && interleaved->fits(tensor.shape.cols()) && rows % interleaved->rows() == 0;
  return whole ? &interleaved->kept() : nullptr;
}

struct Plan {
  GgufFile file;
  std::vector<const Tensor*> sources;  // in the order of the new file
  std::vector<GgufTensorPlan> tensors;
  GgufMetadata metadata;
  std::optional<Importance> importance;
  ConvertReport report;
};

// Layers of the model itself; those behind them are for multi-token prediction.
int64_t main_layers(const GgufFile& file) {
  const auto layers = file.metadata().unsigned_integer(key::kBlockCount);
  require(layers.has_value(), ErrorKind::model, "{}: expected the key {}, found none", file.path(), key::kBlockCount);
  return int64_t(*layers) - int64_t(file.metadata().unsigned_integer(key::kNextnPredictLayers).value_or(0));
}

void require_deepseek(const GgufFile& file) {
  const std::string found = file.metadata().string(key::kArchitecture).value_or("none");
  require(found == key::kDeepseek2, ErrorKind::model, "{}: expected a model of the architecture {}, found {}",
          file.path(), key::kDeepseek2, found);
  std::vector<const Tensor*> foreign;
  for (const Tensor& tensor : file.tensors()) {
    if (!kept_format(tensor)) foreign.push_back(&tensor);
  }
  require(foreign.empty(), ErrorKind::model,
          "{}: {} tensor{} in formats that are not computed here: {}; the first is {}", file.path(), foreign.size(),
          foreign.size() == 1 ? "" : "s", format_counts(foreign), foreign.empty() ? "" : foreign.front()->name);
}

// In the order of the new file: those for multi-token prediction behind the others.
void order_sources(Plan& plan) {
  const int64_t n_layers = main_layers(plan.file);
  for (const Tensor& tensor : plan.file.tensors()) plan.sources.push_back(&tensor);
  std::ranges::stable_partition(plan.sources,
                                [&](const Tensor* tensor) { return split_name(tensor->name).layer < n_layers; });
}

OutputTensor output_of(const Tensor& source, int64_t n_layers) {
  const auto [layer, within] = split_name(source.name);
  OutputTensor output;
  output.name = source.name;
  output.role = role_of(within).value_or(Role::vector);
  output.layer = layer;
  output.mtp = layer >= n_layers;
  output.shape = source.shape;
  return output;
}

void choose_formats(Plan& plan, const QuantizeOptions& options) {
  const int64_t n_layers = main_layers(plan.file);
  std::vector<OutputTensor> outputs;
  for (const Tensor* source : plan.sources) outputs.push_back(output_of(*source, n_layers));
  FormatPlan formats(options.base_recipe(), options.tensor_rules, n_layers);
  if (options.target_bytes) {
    const auto rows = [&](size_t i, const Format& format) {
      return std::make_unique<Requantizer>(plan.file, *plan.sources[i], format, ColumnWeights());
    };
    formats.fit(fit_to_size(options, plan.metadata, outputs, rows, n_layers, plan.report.notes));
  }
  int64_t n_wider = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor* source = plan.sources[i];
    const OutputTensor& output = outputs[i];
    const Format* had = kept_format(*source);
    if (!role_of(split_name(source->name).within)) {
      formats.add(output, {had, had}, "not a tensor that recipes know: kept as it is");
      continue;
    }
    const ChosenFormat chosen = formats.choose(output, had);
    n_wider += output.role != Role::vector && chosen.format->bits_per_weight() > had->bits_per_weight();
    const auto interleaved = Interleaved::of(uint32_t(source->format->id));
    const bool anew = interleaved && &interleaved->kept() != &interleaved->plain() && chosen.format == had;
    formats.add(output, chosen, anew ? fmt::format("{} has finer scales: encoded anew", source->format->name) : "");
  }
  plan.tensors = formats.tensors();
  formats.report(plan.report);
  if (n_wider > 0) {
    plan.report.notes.push_back(
        fmt::format("{} of {} tensors had fewer bits than they get: they take more room and are no better", n_wider,
                    plan.tensors.size()));
  }
}

// Everything is kept but what tells of the old file.
void choose_metadata(Plan& plan, const QuantizeOptions& options) {
  GgufMetadata& metadata = plan.metadata = plan.file.metadata();
  for (const char* own : {key::kSplitNo, key::kSplitCount, key::kSplitTensorsCount, key::kHearthAppendix}) {
    metadata.erase(own);
  }
  const bool keep = options.base_recipe() == kKeep;
  if (!keep) {
    for (const char* of_encoding : kImportanceKeys) metadata.erase(of_encoding);
  }
  const Recipe* recipe = options.target_bytes || keep ? nullptr : &find_recipe(options.recipe);
  const int file_type = recipe ? recipe->file_type : -1;
  if (file_type >= 0) {
    metadata.set(key::kFileType, GgufValue::of_u32(uint32_t(file_type)));
  } else if (!keep || std::ranges::any_of(plan.sources, [](auto* tensor) { return !tensor->format->computed(); })) {
    metadata.erase(key::kFileType);  // keep: ik_llama.cpp has numbers of their own for interleaved files
  }
  metadata.set(key::kQuantizationVersion, GgufValue::of_u32(2));
  metadata.set(key::kHearthVersion, GgufValue::of_string(HEARTH_VERSION));
  if (!metadata.find(key::kHearthSource)) {
    metadata.set(key::kHearthSource, GgufValue::of_string(fs::path(plan.file.path()).filename().string()));
  }
  metadata.set(key::kHearthRecipe, GgufValue::of_string(recipe ? recipe->name : options.recipe_name()));
  metadata.set(key::kHearthChecksums, GgufValue::of_u64s(std::vector<uint64_t>(plan.sources.size())));
}

Plan make_plan(const QuantizeOptions& options) {
  Plan plan;
  plan.file = GgufFile::open(options.input);
  require_deepseek(plan.file);
  order_sources(plan);
  choose_metadata(plan, options);
  choose_formats(plan, options);
  plan.importance = open_importance(options.imatrix, plan.tensors, plan.metadata, plan.report.notes);
  plan.report.file_bytes = gguf_file_bytes(plan.metadata, plan.tensors);
  if (options.check_planned) {
    add_notes(plan.report, options.check_planned(GgufFile::planned(options.output, plan.metadata, plan.tensors)));
  }
  return plan;
}

FileToMake file_to_make(const QuantizeOptions& options, const Plan& plan) {  // refers to the plan
  FileToMake file{options.output, plan.metadata, plan.tensors, {}, "", {}};
  file.rows = [&plan](size_t i) {
    return std::make_unique<Requantizer>(plan.file, *plan.sources[i], *plan.tensors[i].format,
                                         weights_of(plan.importance, plan.tensors[i]));
  };
  for (const auto& part : plan.file.parts()) file.sources.push_back(part.get());
  if (plan.importance) file.settings = plan.importance->settings();
  return file;
}

void check_output(const QuantizeOptions& options, const GgufFile& file) {
  std::error_code error;
  require(!options.output.empty(), ErrorKind::usage, "expected the name of an output file");
  for (const auto& part : file.parts()) {
    require(!fs::equivalent(part->path(), options.output, error), ErrorKind::usage,
            "{}: is the file to be quantized, so it cannot be the output", options.output);
  }
  require(options.overwrite || !fs::exists(options.output, error), ErrorKind::usage,
          "{}: exists already, and overwriting was not asked for", options.output);
}

}  // namespace

ConvertReport plan_quantization(const QuantizeOptions& options) {
  Plan plan = make_plan(options);
  plan.report.estimate = estimate_making(file_to_make(options, plan), options.n_threads);
  return plan.report;
}

ConvertReport quantize_file(const QuantizeOptions& options) {
  require(options.n_threads >= 1, ErrorKind::usage, "expected 1 thread or more, found {}", options.n_threads);
  Plan plan = make_plan(options);
  check_output(options, plan.file);
  add_notes(plan.report, make_file(file_to_make(options, plan), options.n_threads, options.progress));
  return plan.report;
}

}  // namespace hearth
