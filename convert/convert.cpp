#include "convert/convert.h"

#include <filesystem>

#include "convert/arriving_shards.h"
#include "convert/foreign.h"
#include "convert/generation_config.h"
#include "convert/hf_config.h"
#include "convert/importance.h"
#include "convert/make_file.h"
#include "convert/name_map.h"
#include "convert/quantized_notes.h"
#include "convert/recipe.h"
#include "convert/row_encoder.h"
#include "convert/size_target.h"
#include "convert/tensor_sizes.h"
#include "convert/tokenizer_json.h"
#include "quant/error.h"
#include "quant/gguf.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

// Everything that is known before the first weight is read.
struct Plan {
  HfConfig config;
  Checkpoint checkpoint;
  NameMap names;
  std::vector<GgufTensorPlan> tensors;
  GgufMetadata metadata;
  std::optional<Importance> importance;
  ConvertReport report;
};

// A folder of the hub's cache is named after its repository: models--ORG--NAME/snapshots/REVISION. Empty for any other
// folder.
std::string name_in_hub_cache(const fs::path& folder) {
  constexpr std::string_view kModels = "models--", kBetween = "--";
  const fs::path snapshots = folder.parent_path();
  const std::string repository = snapshots.parent_path().filename().string();
  if (snapshots.filename() != "snapshots" || !repository.starts_with(kModels)) return "";
  std::string name = repository.substr(kModels.size());
  if (const size_t at = name.find(kBetween); at != std::string::npos) name.replace(at, kBetween.size(), "/");
  return name;
}

// What the file calls its origin: the repository's name, or the checkpoint's own if it is one, else the directory's.
std::string source_name(const HfConfig& config, const std::string& dir) {
  fs::path path = fs::absolute(dir).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (const std::string name = name_in_hub_cache(path); !name.empty()) return name;
  if (!config.name.empty() && config.name != "." && config.name.back() != '/') {
    return config.name.starts_with('/') ? fs::path(config.name).filename().string() : config.name;
  }
  return path.filename().string();
}

GgufMetadata make_metadata(const Plan& plan, const ConvertOptions& options, const HfTokenizer& tokenizer,
                           const GenerationConfig& generation) {
  const HfConfig& config = plan.config;
  const std::string source = source_name(config, plan.checkpoint.dir());
  GgufMetadata metadata;
  metadata.set(key::kArchitecture, GgufValue::of_string(key::kDeepseek2));
  metadata.set(key::kType, GgufValue::of_string("model"));
  metadata.set(key::kName, GgufValue::of_string(fs::path(source).filename().string()));
  const Recipe* recipe = options.target_bytes || options.recipe == kKeep ? nullptr : &find_recipe(options.recipe);
  const int file_type = recipe ? recipe->file_type : -1;
  if (file_type >= 0) metadata.set(key::kFileType, GgufValue::of_u32(uint32_t(file_type)));
  metadata.set(key::kQuantizationVersion, GgufValue::of_u32(2));
  add_model_metadata(config, metadata);
  if (plan.names.n_mtp_layers > 0) {
    metadata.set(key::kHearthMtpLayerCount, GgufValue::of_u32(uint32_t(plan.names.n_mtp_layers)));
  }
  add_tokenizer_metadata(tokenizer, metadata);
  add_sampling_metadata(generation, metadata);
  metadata.set(key::kHearthVersion, GgufValue::of_string(HEARTH_VERSION));
  metadata.set(key::kHearthSource, GgufValue::of_string(source));
  metadata.set(key::kHearthRecipe, GgufValue::of_string(recipe ? recipe->name : options.recipe_name()));
  // Filled in when the tensors are written.
  metadata.set(key::kHearthChecksums, GgufValue::of_u64s(std::vector<uint64_t>(plan.names.tensors.size())));
  return metadata;
}

// How a tensor departs from what the checkpoint has. Empty if it does not.
std::string row_note(const OutputTensor& tensor, const Format& format) {
  const bool from_fp8 = tensor.sources.front().weight->dtype->fp8;
  if (from_fp8 && format.id == FormatId::f8_e4m3 && !carries(tensor, format)) {
    return "the checkpoint's FP8 scales do not follow these rows: encoded anew";
  }
  return "";
}

void choose_formats(Plan& plan, const ConvertOptions& options) {
  const bool keep = options.base_recipe() == kKeep;
  FormatPlan formats(options.base_recipe(), options.tensor_rules, plan.config.n_layers);
  if (options.target_bytes) {
    CarryLoss loss;  // nothing is carried into F32
    const auto rows = [&](size_t i, const Format& format) {
      return std::make_unique<RowEncoder>(plan.names.tensors[i], format, loss, ColumnWeights());
    };
    formats.fit(fit_to_size(options, plan.metadata, plan.names.tensors, rows, plan.config.n_layers, plan.report.notes));
  }
  NotesOnCodes codes(keep);
  for (const OutputTensor& tensor : plan.names.tensors) {
    const ChosenFormat chosen = formats.choose(tensor, keep ? &kept_format(tensor) : nullptr);
    formats.add(tensor, chosen, row_note(tensor, *chosen.format), remark_on_codes(tensor, *chosen.format));
    codes.add(tensor, *chosen.format);
  }
  plan.tensors = formats.tensors();
  formats.report(plan.report);
  add_notes(plan.report, codes.notes());
}

// The tokenizer's files, and the special tokens that config.json and generation_config.json name.
HfTokenizer read_tokenizer(const HfConfig& config, const GenerationConfig& generation, const std::string& dir) {
  HfTokenizer tokenizer = read_hf_tokenizer(dir, config.vocab_size);
  add_token_ids({generation.bos, std::nullopt, generation.eos}, tokenizer);
  add_token_ids({config.bos_token_id, config.pad_token_id, config.eos_token_ids}, tokenizer);
  if (!tokenizer.bos) tokenizer.notes.push_back("no file names a BOS token: prompts begin without one");
  if (!tokenizer.eos) tokenizer.notes.push_back("no file names an EOS token: only a limit ends an answer");
  if (!tokenizer.other_ends.empty()) {
    tokenizer.notes.push_back(
        fmt::format("token{} {} end{} a text besides EOS{}", tokenizer.other_ends.size() == 1 ? "" : "s",
                    fmt::join(tokenizer.other_ends, ", "), tokenizer.other_ends.size() == 1 ? "s" : "",
                    tokenizer.other_ends.size() > 2 ? "; GGUF has names for the first two" : ""));
  }
  return tokenizer;
}

Plan make_plan(const ConvertOptions& options) {
  if (options.base_recipe() != kKeep) find_recipe(options.base_recipe());  // said at once
  require(!options.shards || !options.target_bytes, ErrorKind::usage,
          "--target-size: measures all weights before the first is written, so they have to be there: pull the "
          "checkpoint, then convert it");
  require_checkpoint_folder(options.checkpoint_dir);
  Plan plan;
  plan.config = read_hf_config((fs::path(options.checkpoint_dir) / "config.json").string());
  const GenerationConfig generation = read_generation_config(options.checkpoint_dir, plan.config.vocab_size);
  const HfTokenizer tokenizer = read_tokenizer(plan.config, generation, options.checkpoint_dir);
  plan.checkpoint = Checkpoint::open(options.checkpoint_dir, options.shards);
  read_sizes_off_tensors(plan.checkpoint, plan.config);
  plan.names = map_names(plan.config, plan.checkpoint, options.keep_mtp);
  plan.metadata = make_metadata(plan, options, tokenizer, generation);
  choose_formats(plan, options);
  plan.importance = open_importance(options.imatrix, plan.tensors, plan.metadata, plan.report.notes);
  plan.report.file_bytes = gguf_file_bytes(plan.metadata, plan.tensors);
  for (const auto& notes :
       {plan.config.notes, plan.checkpoint.notes(), plan.names.notes, tokenizer.notes, generation.notes}) {
    add_notes(plan.report, notes);
  }
  if (options.check_planned) {
    add_notes(plan.report, options.check_planned(GgufFile::planned(options.output, plan.metadata, plan.tensors)));
  }
  return plan;
}

// Null where all shards are there. Refers to the plan.
std::unique_ptr<ArrivingShards> plan_arrivals(const ConvertOptions& options, const Plan& plan) {
  if (!options.shards) return nullptr;
  auto arriving = std::make_unique<ArrivingShards>(*options.shards, plan.checkpoint, plan.names.tensors);
  options.shards->planned(arriving->plan(options.output, plan.report.file_bytes));
  return arriving;
}

// Refers to the plan. config.json has its part in the weights: it says what a scale is for.
FileToMake file_to_make(const ConvertOptions& options, const Plan& plan, CarryLoss& loss, ArrivingShards* arriving) {
  FileToMake file{options.output, plan.metadata, plan.tensors, {}, "", {}};
  file.rows = [&plan, &loss](size_t i) {
    return std::make_unique<RowEncoder>(plan.names.tensors[i], *plan.tensors[i].format, loss,
                                        weights_of(plan.importance, plan.tensors[i]));
  };
  if (!arriving) {
    for (const auto& source : plan.checkpoint.files()) file.sources.push_back(source.get());
  }
  const MappedFile config((fs::path(options.checkpoint_dir) / "config.json").string());
  file.settings = std::string(reinterpret_cast<const char*>(config.bytes().data()), config.size());
  if (plan.importance) file.settings += plan.importance->settings();
  if (arriving) {
    file.settings += arriving->identity();
    file.arrivals = arriving;
  }
  return file;
}

void check_output(const ConvertOptions& options, const Checkpoint& checkpoint) {
  std::error_code error;
  require(!options.output.empty(), ErrorKind::usage, "expected the name of an output file");
  for (const auto& file : checkpoint.files()) {
    require(!fs::equivalent(file->path(), options.output, error), ErrorKind::usage,
            "{}: is part of the checkpoint, so it cannot be the output", options.output);
  }
  require(options.overwrite || !fs::exists(options.output, error), ErrorKind::usage,
          "{}: exists already, and overwriting was not asked for", options.output);
}

}  // namespace

ConvertReport plan_conversion(const ConvertOptions& options) {
  Plan plan = make_plan(options);
  CarryLoss loss;
  if (plan_arrivals(options, plan)) return plan.report;  // there is nothing yet whose encoding could be timed
  plan.report.estimate = estimate_making(file_to_make(options, plan, loss, nullptr), options.n_threads);
  return plan.report;
}

ConvertReport convert_checkpoint(const ConvertOptions& options) {
  require(options.n_threads >= 1, ErrorKind::usage, "expected 1 thread or more, found {}", options.n_threads);
  Plan plan = make_plan(options);
  check_output(options, plan.checkpoint);
  const std::unique_ptr<ArrivingShards> arriving = plan_arrivals(options, plan);

  CarryLoss loss;
  add_notes(plan.report,
            make_file(file_to_make(options, plan, loss, arriving.get()), options.n_threads, options.progress));
  add_notes(plan.report, notes_on_loss(loss));
  return plan.report;
}

}  // namespace hearth
