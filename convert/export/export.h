// A GGUF file, or a checkpoint, as a Hugging Face checkpoint for vLLM and SGLang.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "convert/export/format.h"
#include "quant/gguf.h"

namespace hearth {

struct ExportProgress {
  std::string earlier;                       // what an earlier run left, and what becomes of it; empty: nothing
  std::string weight;                        // last begun
  uint64_t bytes_done = 0, bytes_total = 0;  // of tensors; done: what an earlier run did included
};

struct ExportOptions {
  std::string source;  // a GGUF file, any part of a split one, or the folder of a checkpoint
  std::string output;  // a folder, empty or none
  ExportFormat format = ExportFormat::kBf16;
  bool all_linears = false;  // INT4: not the routed experts alone
  uint64_t shard_bytes = uint64_t(5) << 30;
  int n_threads = 1;
  bool overwrite = false;  // the model that lies in the folder is replaced
  // A GGUF file's metadata with the keys of current files; may refuse the file (Error) and add notes. Unset: as they
  // are.
  std::function<GgufMetadata(const GgufFile&, std::vector<std::string>& notes)> current_metadata = {};
  // Called now and then from one thread. Returning false interrupts: Error(interrupted). Finished files are kept for
  // the next run.
  std::function<bool(const ExportProgress&)> progress = {};
};

struct ExportReport {
  struct File {
    std::string name;
    uint64_t bytes = 0;
    size_t n_tensors = 0;
  };
  std::vector<File> shards;
  uint64_t bytes = 0;  // of all shards
  size_t n_tensors = 0;
  uint64_t memory_bytes = 0;       // at most, beside mapped pages
  std::vector<std::string> notes;  // what the user should know, and after an export what it cost the weights
};

// Everything but the writing. Throws Error.
ExportReport plan_export(const ExportOptions& options);

// Writes the folder, in bounded memory; goes on with what an earlier run of the same source and options left. Whole
// files of weights come one by one, the index and config.json at the end: before that the folder does not look whole.
// Weights that the format holds are the same bit for bit; others go through float32 once. Throws Error.
ExportReport export_model(const ExportOptions& options);

}  // namespace hearth
