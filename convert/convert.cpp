#include "convert/convert.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <limits>
#include <map>
#include <mutex>

#include "convert/foreign.h"
#include "convert/generation_config.h"
#include "convert/hf_config.h"
#include "convert/name_map.h"
#include "convert/quantize.h"
#include "convert/recipe.h"
#include "convert/tensor_sizes.h"
#include "convert/tokenizer_json.h"
#include "quant/checksum.h"
#include "quant/error.h"
#include "quant/gguf.h"
#include "quant/gguf_keys.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

// Weights that a thread takes at a time: 1 MiB of floats, which stay in its cache between reading and encoding.
constexpr int64_t kSlabWeights = 1 << 18;
// Slabs for each thread that is used, at least: tens of milliseconds of work, as long as a thread may have to wait on a
// busy machine.
constexpr int64_t kSlabsPerThread = 4;
constexpr size_t kVerifyBytes = 1 << 20;

// Everything that is known before the first weight is read.
struct Plan {
  HfConfig config;
  Checkpoint checkpoint;
  NameMap names;
  std::vector<ChosenFormat> formats;  // of names.tensors
  std::vector<GgufTensorPlan> tensors;
  GgufMetadata metadata;
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

GgufMetadata make_metadata(const Plan& plan, const Recipe& recipe, const HfTokenizer& tokenizer,
                           const GenerationConfig& generation) {
  const HfConfig& config = plan.config;
  const std::string source = source_name(config, plan.checkpoint.dir());
  GgufMetadata metadata;
  metadata.set(key::kArchitecture, GgufValue::of_string(key::kDeepseek2));
  metadata.set(key::kType, GgufValue::of_string("model"));
  metadata.set(key::kName, GgufValue::of_string(fs::path(source).filename().string()));
  if (recipe.file_type >= 0) metadata.set(key::kFileType, GgufValue::of_u32(uint32_t(recipe.file_type)));
  metadata.set(key::kQuantizationVersion, GgufValue::of_u32(2));
  add_model_metadata(config, metadata);
  if (plan.names.n_mtp_layers > 0) {
    metadata.set(key::kHearthMtpLayerCount, GgufValue::of_u32(uint32_t(plan.names.n_mtp_layers)));
  }
  add_tokenizer_metadata(tokenizer, metadata);
  add_sampling_metadata(generation, metadata);
  metadata.set(key::kHearthVersion, GgufValue::of_string(HEARTH_VERSION));
  metadata.set(key::kHearthSource, GgufValue::of_string(source));
  metadata.set(key::kHearthRecipe, GgufValue::of_string(recipe.name));
  // Filled in when the tensors are written.
  metadata.set(key::kHearthChecksums, GgufValue::of_u64s(std::vector<uint64_t>(plan.names.tensors.size())));
  return metadata;
}

// "ffn_down_exps.weight" of "blk.3.ffn_down_exps.weight".
std::string role_name(const OutputTensor& tensor) {
  return tensor.layer < 0 ? tensor.name : tensor.name.substr(name::in_layer(int(tensor.layer), "").size());
}

// The note of a tensor: how it departs from the recipe. Empty if it does not.
std::string row_note(const OutputTensor& tensor, const ChosenFormat& chosen) {
  if (chosen.format != chosen.wanted) {
    return fmt::format("rows of {} do not fit {} ({}): {}", tensor.shape.cols(), chosen.wanted->name,
                       chosen.wanted->block_elems, chosen.format->name);
  }
  const bool from_fp8 = tensor.sources.front().weight->dtype->fp8;
  if (from_fp8 && chosen.format->id == FormatId::f8_e4m3 && !RowEncoder(tensor, *chosen.format).carries_fp8()) {
    return "the checkpoint's FP8 scales do not follow these rows: encoded anew";
  }
  return "";
}

void choose_formats(Plan& plan, const Recipe& recipe) {
  uint64_t bytes = 0, weights = 0;
  std::map<std::string, int> grouped;  // notes, with the number of tensors of each
  for (const OutputTensor& tensor : plan.names.tensors) {
    const ChosenFormat chosen = choose_format(recipe, tensor, plan.config.n_layers);
    plan.formats.push_back(chosen);
    // MTP tensors go to the appendix: llama.cpp refuses files with tensors that it does not ask for, and it asks for no
    // MTP layer.
    plan.tensors.push_back({tensor.name, chosen.format, tensor.shape, tensor.mtp});
    const uint64_t size = plan.tensors.back().bytes();
    bytes += size;
    weights += uint64_t(tensor.shape.elems());
    const std::string note = row_note(tensor, chosen);
    if (!note.empty()) ++grouped[role_name(tensor) + ": " + note];
    plan.report.tensors.push_back({tensor.name, chosen.format->name, tensor.shape.text(), note, size});
  }
  plan.report.bits_per_weight = 8.0 * double(bytes) / double(weights);
  for (const auto& [note, count] : grouped) {
    plan.report.notes.push_back(fmt::format("{} ({} tensor{})", note, count, count == 1 ? "" : "s"));
  }
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
  const Recipe& recipe = find_recipe(options.recipe);
  require_checkpoint_folder(options.checkpoint_dir);
  Plan plan;
  plan.config = read_hf_config((fs::path(options.checkpoint_dir) / "config.json").string());
  const GenerationConfig generation = read_generation_config(options.checkpoint_dir, plan.config.vocab_size);
  const HfTokenizer tokenizer = read_tokenizer(plan.config, generation, options.checkpoint_dir);
  plan.checkpoint = Checkpoint::open(options.checkpoint_dir);
  read_sizes_off_tensors(plan.checkpoint, plan.config);
  plan.names = map_names(plan.config, plan.checkpoint, options.keep_mtp);
  choose_formats(plan, recipe);
  plan.metadata = make_metadata(plan, recipe, tokenizer, generation);
  plan.report.file_bytes = gguf_file_bytes(plan.metadata, plan.tensors);
  const auto add_notes = [&](const std::vector<std::string>& notes) {
    plan.report.notes.insert(plan.report.notes.end(), notes.begin(), notes.end());
  };
  for (const auto& notes :
       {plan.config.notes, plan.checkpoint.notes(), plan.names.notes, tokenizer.notes, generation.notes}) {
    add_notes(notes);
  }
  if (options.check_planned) {
    add_notes(options.check_planned(GgufFile::planned(options.output, plan.metadata, plan.tensors)));
  }
  return plan;
}

// Calls options.progress, from one thread; throws Error(interrupted) when the callback asks to stop.
class Progress {
 public:
  Progress(const ConvertOptions& options, uint64_t bytes_total) : callback_(options.progress) {
    state_.bytes_total = bytes_total;
  }
  ConvertProgress& state() { return state_; }
  void report() {
    if (callback_ && !callback_(state_)) fail(ErrorKind::interrupted, "interrupted: no file was written");
  }

 private:
  const std::function<bool(const ConvertProgress&)>& callback_;
  ConvertProgress state_;
};

// Keeps the error of the earliest piece of work that failed, so which error is reported does not depend on the threads.
class FirstError {
 public:
  // Runs f unless an error was kept already. Throws nothing, because exceptions must not leave a parallel region.
  template <class F>
  void guard(int64_t piece, F f) {
    if (any_.load(std::memory_order_relaxed)) return;
    try {
      f();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (piece >= piece_) return;
      piece_ = piece;
      error_ = std::current_exception();
      any_ = true;
    }
  }
  bool any() const { return any_.load(std::memory_order_relaxed); }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> any_ = false;
  int64_t piece_ = std::numeric_limits<int64_t>::max();
  std::exception_ptr error_;
};

struct Converted {
  uint64_t checksum = 0;
  int64_t n_clamped = 0;  // weights too large for the format
};

// Reads, encodes and writes one tensor in slabs of rows, all threads at once.
Converted convert_tensor(const Plan& plan, size_t index, int n_threads, GgufWriter& writer, Progress& progress) {
  const OutputTensor& tensor = plan.names.tensors[index];
  const Format& format = *plan.tensors[index].format;
  const RowEncoder encoder(tensor, format);
  const int64_t rows = tensor.shape.rows(), cols = tensor.shape.cols(), unit = encoder.unit();
  const int64_t slab_rows = std::max<int64_t>(1, kSlabWeights / (cols * unit)) * unit;
  const int64_t n_slabs = (rows + slab_rows - 1) / slab_rows;
  const size_t row_bytes = format.bytes(cols);
  const auto size_of = [&](int64_t slab) { return std::min(slab_rows, rows - slab * slab_rows); };
  n_threads = int(std::clamp<int64_t>(n_slabs / kSlabsPerThread, 1, n_threads));

  // Any thread, any order.
  const auto encode_and_write = [&](int64_t slab, RowEncoder::Scratch& scratch, std::vector<std::byte>& blocks) {
    const int64_t first = slab * slab_rows, n = size_of(slab), ahead = slab + 2 * n_threads;
    if (ahead < n_slabs) encoder.will_need(ahead * slab_rows, size_of(ahead));
    blocks.resize(size_t(n) * row_bytes);
    encoder.encode(first, n, scratch, blocks.data());
    encoder.dont_need(first, n);
    writer.write(index, size_t(first) * row_bytes, blocks);
  };
  // One after the other, in the order of the file.
  Checksum sum;
  progress.state().tensor = tensor.name;
  const auto account = [&](int64_t slab, std::span<const std::byte> blocks) {
    sum.add(blocks);
    progress.state().bytes_done += blocks.size();
    progress.state().source_bytes += encoder.source_bytes(slab * slab_rows, size_of(slab));
    if (omp_get_thread_num() == 0) progress.report();
  };

  FirstError error;
#pragma omp parallel num_threads(n_threads)
  {
    RowEncoder::Scratch scratch;
    std::vector<std::byte> blocks;
#pragma omp for ordered schedule(dynamic, 1)
    for (int64_t slab = 0; slab < n_slabs; ++slab) {
      error.guard(slab, [&] { encode_and_write(slab, scratch, blocks); });
#pragma omp ordered
      error.guard(slab, [&] { account(slab, blocks); });
    }
  }
  error.rethrow();
  progress.report();
  return {sum.value(), encoder.n_clamped()};
}

// Opens the written file like any other and compares every tensor with the plan and its checksum.
void verify(const Plan& plan, const std::string& path, const std::vector<uint64_t>& checksums, int n_threads,
            Progress& progress) {
  progress.state().tensor = "verifying";
  const GgufFile file = GgufFile::open(path);
  const std::vector<Tensor>& tensors = file.tensors();
  require(tensors.size() == checksums.size(), ErrorKind::format, "{}: expected {} tensors, read back {}", path,
          checksums.size(), tensors.size());
  std::atomic<uint64_t> bytes_verified = 0;
  FirstError error;
  const auto verify_tensor = [&](size_t i) {
    const Tensor& tensor = tensors[i];
    const GgufTensorPlan& meant = plan.tensors[i];
    require(tensor.name == meant.name && tensor.format == meant.format && tensor.shape == meant.shape,
            ErrorKind::format, "{}: expected tensor {} {} {}, read back {} {} {}", path, meant.name, meant.format->name,
            meant.shape.text(), tensor.name, tensor.format->name, tensor.shape.text());
    Checksum sum;
    const std::span<const std::byte> bytes(tensor.data, tensor.bytes());
    for (size_t at = 0; at < bytes.size(); at += kVerifyBytes) {
      if (error.any()) return;
      const auto part = bytes.subspan(at, std::min(kVerifyBytes, bytes.size() - at));
      sum.add(part);
      file.parts().front()->dont_need(part);
      bytes_verified += part.size();
      if (omp_get_thread_num() != 0) continue;
      progress.state().bytes_verified = bytes_verified;
      progress.report();
    }
    require(sum.value() == checksums[i], ErrorKind::file,
            "{}: tensor {}: expected checksum {}, read back {}: the disk did not keep what was written", path,
            tensor.name, checksum_text(checksums[i]), checksum_text(sum.value()));
  };
#pragma omp parallel for num_threads(n_threads) schedule(dynamic, 1)
  for (size_t i = 0; i < tensors.size(); ++i) {
    error.guard(int64_t(i), [&] { verify_tensor(i); });
  }
  error.rethrow();
  progress.state().bytes_verified = bytes_verified;  // includes what the other threads did last
  progress.report();
}

std::string clamped_note(const std::vector<std::string>& clamped) {
  const size_t shown = std::min<size_t>(clamped.size(), 5);
  return fmt::format("weights too large for F16 became its largest number, 65504: {}{} (bf16 and f32 hold them)",
                     fmt::join(clamped.begin(), clamped.begin() + std::ptrdiff_t(shown), ", "),
                     clamped.size() > shown ? fmt::format(" and of {} other tensors", clamped.size() - shown) : "");
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
  return make_plan(options).report;
}

ConvertReport convert_checkpoint(const ConvertOptions& options) {
  require(options.n_threads >= 1, ErrorKind::usage, "expected 1 thread or more, found {}", options.n_threads);
  Plan plan = make_plan(options);
  check_output(options, plan.checkpoint);

  uint64_t bytes_total = 0;
  for (const GgufTensorPlan& tensor : plan.tensors) bytes_total += tensor.bytes();
  Progress progress(options, bytes_total);
  GgufWriter writer(options.output, plan.metadata, plan.tensors);
  std::vector<uint64_t> checksums;
  std::vector<std::string> clamped;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const auto [checksum, n_clamped] = convert_tensor(plan, i, options.n_threads, writer, progress);
    checksums.push_back(checksum);
    if (n_clamped > 0) clamped.push_back(fmt::format("{} of {}", n_clamped, plan.tensors[i].name));
  }
  writer.patch(key::kHearthChecksums, GgufValue::of_u64s(checksums));
  writer.sync();
  verify(plan, writer.partial_path(), checksums, options.n_threads, progress);
  writer.finish();
  if (!clamped.empty()) plan.report.notes.push_back(clamped_note(clamped));
  return plan.report;
}

}  // namespace hearth
