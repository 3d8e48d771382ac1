// For tests/golden/check_small_files.py: writes the small files of a checkpoint for a GGUF file's metadata, or for a
// tokenizer alone, where there is no model beside it.
//   small_files SOURCE OUT_DIR [bf16|fp8|int4]     SOURCE: a GGUF file, or a folder with a checkpoint's small files
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "convert/export/model_files.h"
#include "convert/export/tokenizer_files.h"
#include "convert/generation_config.h"
#include "convert/hf_config.h"
#include "convert/tokenizer_json.h"
#include "quant/error.h"
#include "quant/gguf_keys.h"

namespace {

using namespace hearth;
namespace fs = std::filesystem;

// As convert writes it. The published tokenizer of V3 lies without a config.json.
GgufMetadata of_folder(const fs::path& folder) {
  GgufMetadata metadata;
  metadata.source = folder.string();
  int64_t vocab_size = 129280;
  TokenIds ids;
  if (fs::exists(folder / "config.json")) {
    const HfConfig config = read_hf_config((folder / "config.json").string());
    vocab_size = config.vocab_size;
    ids = {config.bos_token_id, config.pad_token_id, config.eos_token_ids};
    metadata.set(key::kArchitecture, GgufValue::of_string(key::kDeepseek2));
    add_model_metadata(config, metadata);
    if (config.n_mtp_layers > 0)
      metadata.set(key::kHearthMtpLayerCount, GgufValue::of_u32(uint32_t(config.n_mtp_layers)));
  }
  if (fs::exists(folder / "tokenizer.json")) {
    HfTokenizer tokenizer = read_hf_tokenizer(folder.string(), vocab_size);
    add_token_ids(ids, tokenizer);
    add_tokenizer_metadata(tokenizer, metadata);
  }
  add_sampling_metadata(read_generation_config(folder.string(), vocab_size), metadata);
  return metadata;
}

std::vector<ModelFile> files_of(const GgufMetadata& metadata, ExportFormat format) {
  if (metadata.find(key::kBlockCount)) return model_files(metadata, format, {"model.layers.0.mlp.down_proj"});
  return {{"tokenizer.json", tokenizer_json(metadata)}, {"tokenizer_config.json", tokenizer_config_json(metadata)}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: small_files SOURCE OUT_DIR [bf16|fp8|int4]\n"), 2;
  const fs::path source = argv[1], out = argv[2];
  const std::string word = argc > 3 ? argv[3] : "bf16";
  const ExportFormat format = word == "fp8"    ? ExportFormat::kFp8
                              : word == "int4" ? ExportFormat::kInt4
                                               : ExportFormat::kBf16;
  try {
    const GgufMetadata metadata = fs::is_directory(source) ? of_folder(source) : GgufFile::open(source).metadata();
    fs::create_directories(out);
    for (const ModelFile& file : files_of(metadata, format))
      std::ofstream(out / file.name, std::ios::binary) << file.text;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
