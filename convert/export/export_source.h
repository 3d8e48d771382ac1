// What is exported: a GGUF file or the folder of a checkpoint, opened and understood.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "convert/export/export.h"
#include "convert/export/model_files.h"
#include "convert/export/weight_rows.h"

namespace hearth {

class ExportSource {
 public:
  // Throws Error as GgufFile, Checkpoint, map_names and weights_of_gguf do.
  static std::unique_ptr<ExportSource> open(const ExportOptions& options);
  virtual ~ExportSource() = default;

  virtual const std::vector<ExportWeight>& weights() const = 0;
  virtual std::vector<const MappedFile*> files() const = 0;
  // All but the weights and their index, config.json among them.
  virtual std::vector<ModelFile> small_files(ExportFormat format,
                                             const std::vector<std::string>& not_converted) const = 0;
  virtual std::vector<std::string> notes() const = 0;       // of what was opened
  virtual std::vector<std::string> loss_notes() const = 0;  // of what reading it has cost so far
};

}  // namespace hearth
