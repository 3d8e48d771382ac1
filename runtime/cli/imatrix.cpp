// hearth imatrix MODEL.gguf --file TEXT -o OUT.gguf: which columns of the weights matter, for quantizing them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "quant/error.h"
#include "quant/output_file.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/files.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"
#include "runtime/eval/gather_importance.h"

namespace hearth::cli {
namespace {

namespace fs = std::filesystem;

struct ImatrixArguments {
  SessionOptions session;
  GatherOptions gather;
  std::string file, output = "imatrix.gguf";
  std::vector<std::string> earlier;  // --in
  int64_t save_every = 16;
  bool special = false, force = false;
};

bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return fs::equivalent(a, b, error);
}

// What is written: the sums, and what they were gathered over.
class Result {
 public:
  Result(const ImatrixArguments& arguments, int64_t chunk_tokens)
      : path_(arguments.output), text_(arguments.file), chunk_tokens_(chunk_tokens) {}

  InputSums& sums() { return sums_; }

  void add(const std::string& path) {
    const ImportanceFile file = ImportanceFile::open(path);
    sums_.add(file);
    for (const std::string& text : file.datasets) note_text(text);
    earlier_tokens_ += file.n_chunks * file.chunk_tokens;
  }

  void save(int64_t chunks) {
    if (!text_.empty()) note_text(text_);
    n_chunks_ = uint64_t(chunks) + earlier_tokens_ / uint64_t(chunk_tokens_);
    const std::vector<ImportanceSums> entries = sums_.entries();
    n_entries_ = entries.size();
    write_importance(path_, entries, texts_, n_chunks_, uint64_t(chunk_tokens_));
  }

  std::string text() const {
    return fmt::format("{}: importance of {} tensors from {} chunks of {} tokens", path_, n_entries_, n_chunks_,
                       chunk_tokens_);
  }

 private:
  void note_text(const std::string& text) {
    if (std::ranges::find(texts_, text) == texts_.end()) texts_.push_back(text);
  }

  std::string path_, text_;
  int64_t chunk_tokens_;
  InputSums sums_;
  std::vector<std::string> texts_;
  uint64_t earlier_tokens_ = 0, n_chunks_ = 0;
  size_t n_entries_ = 0;
};

void note_experts(const InputSums& sums) {
  const std::string few = sums.experts_seen().text();
  if (!few.empty()) note("note: {}; more text, or text of more kinds, would tell more of them\n", few);
}

void check_arguments(const ImatrixArguments& arguments) {
  require(!arguments.file.empty() || !arguments.earlier.empty(), ErrorKind::usage,
          "expected --file TEXT to gather importance over, or --in FILE to put together what was gathered");
  std::error_code error;
  const bool goes_on =
      std::ranges::any_of(arguments.earlier, [&](const auto& path) { return same_file(path, arguments.output); });
  require(arguments.force || goes_on || !fs::exists(arguments.output, error), ErrorKind::usage,
          "{}: exists already (--force replaces it, --in {} adds to it)", arguments.output, arguments.output);
  require(!same_file(arguments.output, arguments.session.load.path), ErrorKind::usage,
          "{}: is the model, so it cannot be the output", arguments.output);
  const OutputFile writable(arguments.output);  // known now, and not after hours
}

// Redrawn in place; on anything but a terminal a line whenever something was saved.
void show_progress(int64_t done, int64_t total, double perplexity, bool saved) {
  const bool terminal = stderr_is_terminal();
  if (!terminal && !saved) return;
  note("{}chunk {} of {}, perplexity {:.3f}{}", terminal ? "\r\033[K" : "", done, total, perplexity,
       !terminal       ? "\n"
       : done == total ? "\r\033[K"
                       : "");
}

void imatrix(const ImatrixArguments& arguments) {
  check_arguments(arguments);
  std::string text;
  if (!arguments.file.empty()) {
    text = read_text(arguments.file);
    require_utf8(text, arguments.file);
  }
  SessionOptions session_options = arguments.session;
  if (session_options.ctx == 0) session_options.ctx = arguments.gather.n_ctx;
  session_options.load.device = DeviceChoice::cpu;
  Result result(arguments, session_options.ctx);
  session_options.load.inputs = &result.sums();
  LoadedModel session = open_session(session_options);
  if (session_options.verbose) print_banner(session);
  result.sums().begin(*session.model);
  for (const std::string& path : arguments.earlier) result.add(path);

  Gathered gathered;
  if (!text.empty()) {
    GatherOptions options = arguments.gather;
    options.n_ctx = session.model->options().n_ctx;
    if (session.tokenizer->add_bos()) options.bos = session.tokenizer->bos();
    options.progress = [&](int64_t done, int64_t total, double perplexity) {
      const bool saves = done % arguments.save_every == 0 && done < total;
      if (saves) result.save(done);
      show_progress(done, total, perplexity, saves);
    };
    options.stop_now = interrupted;
    const std::vector<Token> tokens = session.tokenizer->encode(text, arguments.special);
    gathered = gather_importance(*session.model, tokens, result.sums(), options);
  }
  require(gathered.chunks > 0 || gathered.of == 0 || !arguments.earlier.empty(), ErrorKind::interrupted,
          "interrupted in the first of {} chunks: nothing was written", gathered.of);
  result.save(gathered.chunks);
  const int64_t done = arguments.gather.first + gathered.chunks;
  require(gathered.chunks == gathered.of, ErrorKind::interrupted,
          "interrupted: {} has what {} of {} chunks gave; --in {} --skip {} goes on", arguments.output, gathered.chunks,
          gathered.of, arguments.output, done);
  note("{}{}\n", result.text(),
       gathered.chunks > 0 ? fmt::format("; the model's perplexity on the text: {:.3f}", gathered.perplexity) : "");
  note_experts(result.sums());
}

}  // namespace

void add_imatrix(CLI::App& app) {
  auto arguments = std::make_shared<ImatrixArguments>();
  SessionOptions& session = arguments->session;
  CLI::App* command = app.add_subcommand("imatrix", "which columns of the weights matter, for quantizing by --imatrix");
  add_model_option(*command, session);
  command->add_option("--file,-f", arguments->file, "the text: of the kind that the model is for");
  command->add_option("--output,-o", arguments->output, "the file to make, in llama.cpp's form")->capture_default_str();
  command
      ->add_option("--in", arguments->earlier,
                   "a file of an earlier run, to which this one adds; may be given more than once")
      ->allow_extra_args(false);
  command->add_option("--ctx,-c", session.ctx, "tokens of a chunk (default 512)")
      ->transform(token_count(4, kMostTokens));
  command->add_option("--chunks", arguments->gather.most, "only so many chunks of the text")
      ->transform(whole_number(1, int64_t(1) << 32));
  command
      ->add_option("--skip", arguments->gather.first, "leave out so many chunks of the text, those of an earlier run")
      ->transform(whole_number(0, int64_t(1) << 32));
  command
      ->add_option("--save-every", arguments->save_every, "chunks after which what was gathered is written, each time")
      ->capture_default_str()
      ->transform(whole_number(1, int64_t(1) << 32));
  command->add_flag("--special", arguments->special,
                    "read control tokens in the text: of conversations with their marks");
  command->add_flag("--force", arguments->force, "replace an existing output file");
  command->add_option("--threads,-t", session.load.threads, "threads; 0: one per core (default: the same)")
      ->transform(whole_number(0, 1024));
  command->add_option("--isa", session.load.isa, "table of CPU kernels, by name; auto: the best, or $HEARTH_ISA")
      ->capture_default_str();
  command
      ->add_option("--ubatch", session.load.ubatch,
                   "tokens run at once (default: a chunk, up to 4096 of it as memory allows)")
      ->transform(token_count(1, int64_t(1) << 16));
  command->add_flag("-v,--verbose", session.verbose, "say what runs");
  command->callback([arguments] { imatrix(*arguments); });
}

}  // namespace hearth::cli
