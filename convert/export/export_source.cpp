#include "convert/export/export_source.h"

#include <algorithm>
#include <filesystem>

#include "convert/export/checkpoint_weights.h"
#include "convert/export/config_json.h"
#include "convert/export/gguf_weights.h"
#include "convert/export/metadata_config.h"
#include "convert/foreign.h"
#include "convert/quantized_notes.h"
#include "convert/tensor_sizes.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;

class GgufSource : public ExportSource {
 public:
  explicit GgufSource(const ExportOptions& options) : file_(GgufFile::open(options.source)) {
    metadata_ = options.current_metadata ? options.current_metadata(file_, notes_) : file_.metadata();
    weights_ = weights_of_gguf(file_, sizes());
  }

  const std::vector<ExportWeight>& weights() const override { return weights_; }
  std::vector<const MappedFile*> files() const override {
    std::vector<const MappedFile*> files;
    for (const auto& part : file_.parts()) files.push_back(part.get());
    return files;
  }
  std::vector<ModelFile> small_files(ExportFormat format,
                                     const std::vector<std::string>& not_converted) const override {
    return model_files(metadata_, format, not_converted, is_tied());
  }
  std::vector<std::string> notes() const override { return notes_; }
  std::vector<std::string> loss_notes() const override { return {}; }

 private:
  bool is_tied() const { return !file_.find_tensor(name::kOutput); }
  HfConfig sizes() const {
    HfConfig config = config_of_metadata(metadata_);
    config.tied_embeddings = is_tied();
    return config;
  }

  GgufFile file_;
  GgufMetadata metadata_;
  std::vector<std::string> notes_;
  std::vector<ExportWeight> weights_;
};

constexpr uintmax_t kMostOfSmall = 64 << 20;

// Tokenizer, chat template, sampling, code, licence: all that is no weights and says nothing of their form.
bool is_small_file(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string(), extension = entry.path().extension().string();
  const bool of_weights = name == "config.json" || name == "model.safetensors.index.json" ||
                          extension == ".safetensors" || extension == ".bin" || extension == ".gguf" ||
                          extension == ".pt" || extension == ".pth";
  std::error_code error;
  return !of_weights && !name.starts_with('.') && entry.is_regular_file(error) && entry.file_size(error) > 0 &&
         entry.file_size(error) <= kMostOfSmall && !error;
}

std::string text_of_file(const std::string& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.size()};
}

class CheckpointSource : public ExportSource {
 public:
  explicit CheckpointSource(const ExportOptions& options)
      : config_path_((fs::path(options.source) / "config.json").string()) {
    require_checkpoint_folder(options.source);
    config_ = read_hf_config(config_path_);
    checkpoint_ = Checkpoint::open(options.source);
    read_sizes_off_tensors(checkpoint_, config_);
    names_ = map_names(config_, checkpoint_, true);
    weights_ = weights_of_checkpoint(config_, names_, loss_);
  }

  const std::vector<ExportWeight>& weights() const override { return weights_; }
  std::vector<const MappedFile*> files() const override {
    std::vector<const MappedFile*> files;
    for (const auto& file : checkpoint_.files()) files.push_back(file.get());
    return files;
  }
  std::vector<ModelFile> small_files(ExportFormat format,
                                     const std::vector<std::string>& not_converted) const override {
    std::vector<ModelFile> files;
    for (const auto& entry : fs::directory_iterator(checkpoint_.dir())) {
      if (is_small_file(entry))
        files.push_back({entry.path().filename().string(), text_of_file(entry.path().string())});
    }
    std::ranges::sort(files, {}, &ModelFile::name);
    files.push_back(
        {"config.json", requantized_config_json(text_of_file(config_path_), config_path_, format, not_converted)});
    return files;
  }
  std::vector<std::string> notes() const override {
    std::vector<std::string> notes = config_.notes;
    for (const auto& more : {checkpoint_.notes(), names_.notes}) notes.insert(notes.end(), more.begin(), more.end());
    return notes;
  }
  std::vector<std::string> loss_notes() const override { return notes_on_loss(loss_); }

 private:
  std::string config_path_;
  HfConfig config_;
  Checkpoint checkpoint_;
  NameMap names_;
  mutable CarryLoss loss_;
  std::vector<ExportWeight> weights_;
};

}  // namespace

std::unique_ptr<ExportSource> ExportSource::open(const ExportOptions& options) {
  std::error_code error;
  if (fs::is_directory(options.source, error)) return std::make_unique<CheckpointSource>(options);
  return std::make_unique<GgufSource>(options);
}

}  // namespace hearth
