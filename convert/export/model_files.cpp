#include "convert/export/model_files.h"

#include "convert/export/config_json.h"
#include "convert/export/generation_json.h"
#include "convert/export/metadata_config.h"
#include "convert/export/tokenizer_files.h"

namespace hearth {

std::vector<ModelFile> model_files(const GgufMetadata& metadata, ExportFormat format,
                                   const std::vector<std::string>& not_converted, bool tied_embeddings) {
  HfConfig config = config_of_metadata(metadata);
  config.tied_embeddings = tied_embeddings;
  std::vector<ModelFile> files;
  files.push_back({"config.json", config_json(config, format, not_converted)});
  if (auto generation = generation_config_json(metadata)) files.push_back({"generation_config.json", *generation});
  files.push_back({"tokenizer.json", tokenizer_json(metadata)});
  files.push_back({"tokenizer_config.json", tokenizer_config_json(metadata)});
  return files;
}

}  // namespace hearth
