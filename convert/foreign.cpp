#include "convert/foreign.h"

#include <filesystem>
#include <fstream>

#include "convert/json_file.h"
#include "quant/error.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

constexpr struct {
  const char *part, *hint;
} kLayouts[] = {
    {"lora_", "LoRA weights: merge them into the base model and save that"},
    {".base_layer.", "LoRA weights: merge them into the base model and save that"},
    {"switch_mlp", "MLX's layout: take the checkpoint that it was made from"},
    {".scales", "quantized by MLX: take the checkpoint that it was made from"},
    {"embed_q", "MLX's layout: take the checkpoint that it was made from"},
    {"qweight", "quantized by GPTQ or AWQ in a way that is not known here: take the checkpoint that it was made from"},
    {"weight_packed", "packed integers of another layout: take the checkpoint that it was made from"},
    {"weight_global_scale", "quantized to FP4: take the checkpoint that it was made from"},
    {"indexer.", "sparse attention, as V3.2 has it, is not supported"},
    {"vision", "a model that sees"},
    {"visual", "a model that sees"},
};

bool begins_with(const std::string& path, std::string_view magic) {
  std::string head(magic.size(), '\0');
  std::ifstream(path, std::ios::binary).read(head.data(), std::streamsize(head.size()));
  return head == magic;
}

void refuse_file(const std::string& path) {
  require(!begins_with(path, "GGUF"), ErrorKind::file,
          "{}: is a GGUF file, which run and chat open as it is; convert makes one from the folder of a Hugging Face "
          "checkpoint",
          path);
  const std::string folder = fs::path(path).has_parent_path() ? fs::path(path).parent_path().string() : ".";
  fail(ErrorKind::file, "{}: is a file, expected the directory of a Hugging Face checkpoint{}", path,
       path.ends_with(".safetensors") || path.ends_with(".json") ? fmt::format(": try {}", folder) : "");
}

// " (NAME)", if the adapter names its base model, else nothing.
std::string base_model(const std::string& adapter_config) {
  try {
    const Json json = read_json_object(adapter_config, kMaxConfigBytes);
    const auto name = JsonFields(json, adapter_config).string("base_model_name_or_path");
    return name ? fmt::format(" ({})", one_line(*name)) : "";
  } catch (const Error&) {  // ignored: the caller's message is about the folder
    return "";
  }
}

}  // namespace

void require_checkpoint_folder(const std::string& dir) {
  std::error_code error;
  if (fs::is_regular_file(dir, error)) refuse_file(dir);
  require(fs::is_directory(dir, error), ErrorKind::file, "{}: expected the directory of a Hugging Face checkpoint",
          dir);
  const fs::path folder(dir);
  if (fs::exists(folder / "config.json", error)) return;
  const std::string adapter = (folder / "adapter_config.json").string();
  if (fs::exists(adapter, error)) {
    fail(ErrorKind::model,
         "{}: is a LoRA adapter, not a model: merge it into its base model{} (PEFT: merge_and_unload), save that, and "
         "convert it",
         dir, base_model(adapter));
  }
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    require(!name.ends_with(".gguf"), ErrorKind::file,
            "{}: has no config.json, but {}: GGUF files need no conversion, run and chat open them", dir, name);
  }
  fail(ErrorKind::file, "{}: has no config.json: expected the directory of a Hugging Face checkpoint", dir);
}

std::string layout_hint(const std::vector<const SourceTensor*>& unknown) {
  for (const auto& layout : kLayouts) {
    for (const SourceTensor* tensor : unknown) {
      if (tensor->name.find(layout.part) != std::string::npos) return fmt::format(" ({})", layout.hint);
    }
  }
  return "";
}

}  // namespace hearth
