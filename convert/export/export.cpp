#include "convert/export/export.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "convert/export/export_folder.h"
#include "convert/export/export_source.h"
#include "convert/export/scheme.h"
#include "convert/export/shard_pipeline.h"
#include "quant/checksum.h"
#include "quant/error.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";

// Everything that is known before the first weight is written.
struct ExportPlan {
  std::unique_ptr<ExportSource> source;
  ExportScheme scheme;
  std::vector<ExportShard> shards;
  std::vector<ModelFile> small_files;
  ExportReport report;
};

// Which weights are decoded and encoded anew, by the format they have.
std::vector<std::string> notes_on_formats(const ExportPlan& plan) {
  std::map<std::string, size_t> anew;
  const std::vector<ExportWeight>& weights = plan.source->weights();
  for (size_t i = 0; i < weights.size(); ++i) {
    const Format& format = weights[i].rows->format();
    const bool is_vector = weights[i].role == Role::vector;  // which lose nothing
    if (!is_vector && !plan.scheme.encoders[i]->holds(format)) ++anew[format.name];
  }
  std::vector<std::string> notes;
  for (const auto& [format, n] : anew) {
    notes.push_back(fmt::format("{} matri{} in {} go{} through float32 once; the error is measured and told at the end",
                                n, n == 1 ? "x" : "ces", format, n == 1 ? "es" : ""));
  }
  return notes;
}

void append(std::vector<std::string>& notes, const std::vector<std::string>& more) {
  notes.insert(notes.end(), more.begin(), more.end());
}

ShardsToMake shards_to_make(const ExportPlan& plan, const std::string& folder) {
  return {folder, &plan.source->weights(), &plan.scheme.encoders, {}};
}

ExportPlan make_export_plan(const ExportOptions& options) {
  require(options.shard_bytes > 0, ErrorKind::usage, "expected a shard size of 1 byte or more, found 0");
  ExportPlan plan;
  plan.source = ExportSource::open(options);
  plan.scheme = choose_scheme(plan.source->weights(), options.format, options.all_linears);
  plan.shards = plan_shards(plan.source->weights(), plan.scheme.encoders, options.shard_bytes);
  plan.small_files = plan.source->small_files(options.format, plan.scheme.not_converted);
  for (const ExportShard& shard : plan.shards) {
    plan.report.shards.push_back({shard.name, shard.file_bytes, shard.tensors.size()});
    plan.report.bytes += shard.file_bytes;
    plan.report.n_tensors += shard.tensors.size();
  }
  plan.report.memory_bytes = ShardPipeline::memory_bytes(shards_to_make(plan, ""), options.n_threads);
  for (const auto& notes : {plan.source->notes(), plan.scheme.notes, notes_on_formats(plan)})
    append(plan.report.notes, notes);
  return plan;
}

// A checksum of all that determines the bytes of the shards.
uint64_t conditions_of(const ExportPlan& plan) {
  Checksum sum;
  const auto add = [&](const std::string& text) { sum.add(std::as_bytes(std::span(text.c_str(), text.size() + 1))); };
  add(HEARTH_VERSION);
  for (const MappedFile* file : plan.source->files()) add(file->identity());
  for (const ExportShard& shard : plan.shards) add(shard.name + shard.header);
  for (const ModelFile& file : plan.small_files) add(file.name + file.text);
  return sum.value();
}

// One run: what an earlier one left, what is left to do.
class Exporting {
 public:
  Exporting(const ExportOptions& options, const ExportPlan& plan)
      : options_(options), plan_(plan), folder_(options.output, conditions_of(plan), options.overwrite) {
    uint64_t bytes_needed = 0;
    for (const ExportShard& shard : plan.shards) {
      state_.bytes_total += shard.data_bytes;
      if (folder_.goes_on() && has_shard(folder_.path(), shard)) {
        state_.bytes_done += shard.data_bytes;
        ++n_whole_;
      } else {
        left_.push_back(&shard);
        bytes_needed += shard.file_bytes;
      }
    }
    folder_.require_space(bytes_needed);
    folder_.begin();
    folder_.keep(n_whole_ > 0);
    if (n_whole_ > 0) {
      state_.earlier =
          fmt::format("{}: going on: {} of {} files are there", folder_.path(), n_whole_, plan.shards.size());
    } else if (!folder_.begun_anew().empty()) {
      state_.earlier = fmt::format("{}: begun anew: {}", folder_.path(), folder_.begun_anew());
    }
  }

  std::vector<std::string> run() {
    report();
    ExportLoss loss;
    make_shards(loss);
    write_small_files();
    std::vector<std::string> notes = loss.notes(export_format_name(options_.format));
    if (!notes.empty() && left_.size() < plan_.shards.size())
      notes.push_back("these errors are of the files that this run has made, not of those that were there");
    return notes;
  }

  // Whole files stay, unless the weights are at fault: then no later run can go on either.
  [[noreturn]] void give_up(const Error& error) {
    const bool at_fault = error.kind == ErrorKind::format || error.kind == ErrorKind::model;
    if (at_fault || n_whole_ == 0) {
      folder_.keep(false);
      fail(error.kind, "{}{}", error.what(), error.kind == ErrorKind::interrupted ? ": nothing was written" : "");
    }
    fail(error.kind, "{}; the same command goes on: {} of {} files are kept in {}", error.what(), n_whole_,
         plan_.shards.size(), folder_.path());
  }

 private:
  void report() {
    if (options_.progress && !options_.progress(state_)) fail(ErrorKind::interrupted, "interrupted");
  }

  void make_shards(ExportLoss& loss) {
    ShardsToMake make = shards_to_make(plan_, folder_.path());
    make.shards = left_;
    ShardPipeline pipeline(make, options_.n_threads, loss);
    const uint64_t done_before = state_.bytes_done;
    const auto look = [&] {
      state_.bytes_done = done_before + pipeline.bytes_done();
      state_.weight = pipeline.weight();
      report();
    };
    while (const auto file = pipeline.next(look)) {
      file->finish();
      ++n_whole_;
      folder_.keep(true);
      look();
    }
  }

  // config.json is what makes a folder a model: it comes last.
  void write_small_files() {
    const ModelFile* config = nullptr;
    for (const ModelFile& file : plan_.small_files) {
      if (file.name == kConfig)
        config = &file;
      else
        folder_.write(file.name, file.text);
    }
    std::vector<IndexEntry> entries;
    uint64_t bytes = 0;
    for (const ExportShard& shard : plan_.shards) {
      bytes += shard.data_bytes;
      for (const NewTensor& tensor : shard.tensors) entries.push_back({tensor.name, shard.name});
    }
    sync_folder(folder_.path());
    folder_.write("model.safetensors.index.json", safetensors_index(std::move(entries), bytes));
    if (config) folder_.write(config->name, config->text);
    folder_.finish();
  }

  const ExportOptions& options_;
  const ExportPlan& plan_;
  ExportFolder folder_;
  ExportProgress state_;
  std::vector<const ExportShard*> left_;
  size_t n_whole_ = 0;
};

void check_output_folder(const ExportOptions& options, const ExportPlan& plan) {
  require(!options.output.empty(), ErrorKind::usage, "expected the name of an output folder");
  for (const MappedFile* file : plan.source->files()) {
    std::error_code error;
    const fs::path folder = fs::absolute(file->path(), error).parent_path();
    require(!fs::equivalent(folder, options.output, error), ErrorKind::usage,
            "{}: holds the model that is to be exported, so it cannot be the output", options.output);
  }
}

}  // namespace

ExportReport plan_export(const ExportOptions& options) {
  return make_export_plan(options).report;
}

ExportReport export_model(const ExportOptions& options) {
  require(options.n_threads >= 1, ErrorKind::usage, "expected 1 thread or more, found {}", options.n_threads);
  ExportPlan plan = make_export_plan(options);
  check_output_folder(options, plan);
  Exporting exporting(options, plan);
  try {
    append(plan.report.notes, exporting.run());
  } catch (const Error& error) {
    exporting.give_up(error);
  }
  append(plan.report.notes, plan.source->loss_notes());
  return plan.report;
}

}  // namespace hearth
