// hearth bench MODEL.gguf: prefill and decode speed, and decode's share of what this machine's memory allows.
#include "runtime/eval/bench.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/cuda/backend.h"
#include "quant/error.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/numbers.h"
#include "runtime/cli/session.h"
#include "runtime/cli/terminal.h"
#include "runtime/eval/bench_parallel.h"
#include "runtime/eval/report.h"
#include "runtime/offload/expert_stats.h"
#include "runtime/support/size_text.h"

namespace hearth::cli {
namespace {

struct BenchArguments {
  SessionOptions session;
  BenchOptions options;
  std::vector<int64_t> streams;  // --parallel; empty: one sequence
  bool json = false;
};

nlohmann::ordered_json json_of(const Samples& samples) {
  return {{"median", samples.median()}, {"min", samples.min()}, {"max", samples.max()}, {"all", samples.values}};
}

void print_json(const BenchArguments& arguments, const LoadedModel& session, const BenchResult& r) {
  nlohmann::ordered_json object = {{"model", session.model->config().name},
                                   {"file", arguments.session.load.path},
                                   {"kernels", session.model->options().ops->name},
                                   {"threads", session.model->options().n_threads},
                                   {"depth", arguments.options.depth},
                                   {"read_bandwidth_gb_s", r.read_bandwidth.median() / 1e9}};
  if (!r.prefill.empty()) object["prefill"] = {{"tokens", arguments.options.prefill}, {"tok_s", json_of(r.prefill)}};
  if (!r.decode.empty())
    object["decode"] = {{"tokens", arguments.options.decode},
                        {"tok_s", json_of(r.decode)},
                        {"bytes_per_token", r.active_bytes + r.cache_bytes},
                        {"bytes_of", r.hybrid ? "experts read by the CPU" : "weights and cache"},
                        {"gb_s", r.decode_bytes_per_s / 1e9},
                        {"floor_tok_s", r.decode_floor},
                        {"share_of_floor", r.decode_share}};
  if (const Timeline& t = r.timeline; t.seconds > 0)
    object["timeline"] = {{"seconds", t.seconds}, {"gpu_busy", t.gpu}, {"cpu_busy", t.host}, {"both_busy", t.both}};
  print("{}\n", object.dump(2));
}

void print_row(const char* name, int64_t tokens, const Samples& samples) {
  print("{:8} {:>6} tokens  {:>9.2f} tok/s  ({:.2f} to {:.2f} in {} runs)\n", name, tokens, samples.median(),
        samples.min(), samples.max(), samples.values.size());
}

void print_timeline(const Timeline& t) {
  if (t.seconds <= 0) return;
  const auto share = [&](double seconds) { return 100 * seconds / t.seconds; };
  print("         one token, {:.2f} ms: the GPU at work {:.0f} % of the time, the CPU {:.0f} %, both {:.0f} %\n",
        1e3 * t.seconds, share(t.gpu), share(t.host), share(t.both));
  print("         gpu |{}|\n         cpu |{}|\n", t.gpu_row, t.host_row);
}

void print_text(const BenchArguments& arguments, const BenchResult& r) {
  if (arguments.options.depth > 0) print("after {} tokens\n", arguments.options.depth);
  if (!r.prefill.empty()) print_row("prefill", arguments.options.prefill, r.prefill);
  if (r.decode.empty()) return;
  print_row("decode", arguments.options.decode, r.decode);
  print_timeline(r.timeline);
  if (r.decode_floor == 0) return;
  print(
      "         {} per token at {:.1f} GB/s; memory gives {:.1f} GB/s here ({:.1f} to {:.1f}), so the floor is "
      "{:.1f} tok/s and this is {:.0f} % of it\n",
      decimal_size_text(double(r.active_bytes + r.cache_bytes)) + (r.hybrid ? " of experts read by the CPU" : ""),
      r.decode_bytes_per_s / 1e9, r.read_bandwidth.median() / 1e9, r.read_bandwidth.min() / 1e9,
      r.read_bandwidth.max() / 1e9, r.decode_floor, 100 * r.decode_share);
}

void print_parallel(const BenchArguments& arguments, const ParallelResult& result) {
  if (arguments.json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const ParallelRow& r : result.rows) {
      rows.push_back({{"streams", r.n_streams},
                      {"tok_s", r.rate},
                      {"tok_s_per_stream", r.rate / double(r.n_streams)},
                      {"first_token_seconds", r.first_token_seconds},
                      {"bytes_per_step", r.step_bytes},
                      {"floor_tok_s", r.floor},
                      {"share_of_floor", r.share}});
    }
    print("{}\n",
          nlohmann::ordered_json{
              {"read_bandwidth_gb_s", result.bandwidth / 1e9}, {"prefill_tok_s", result.prefill_rate}, {"rows", rows}}
              .dump(2));
    return;
  }
  print("memory gives {:.1f} GB/s here; a prompt is read at {:.1f} tok/s\n", result.bandwidth / 1e9,
        result.prefill_rate);
  print("streams  tok/s in all  per stream  of one  first token  read a step  floor tok/s  of it\n");
  for (const ParallelRow& r : result.rows) {
    print("{:7}  {:12.2f}  {:10.2f}  {:5.2f}x  {:9.2f} s  {:>11}  {:>11}  {:>5}\n", r.n_streams, r.rate,
          r.rate / double(r.n_streams), r.rate / result.rows.front().rate, r.first_token_seconds,
          r.step_bytes > 0 ? decimal_size_text(r.step_bytes) : "?", r.floor > 0 ? fmt::format("{:.2f}", r.floor) : "?",
          r.floor > 0 ? fmt::format("{:.0f} %", 100 * r.share) : "?");
  }
}

void run_parallel(const BenchArguments& arguments) {
  SessionOptions session_options = arguments.session;
  ParallelOptions options;
  options.streams = arguments.streams;
  options.prompt = arguments.options.depth > 0 ? arguments.options.depth : 64;
  options.decode = arguments.options.decode;
  options.prefill = arguments.options.prefill;
  options.repetitions = arguments.options.repetitions;
  options.stop_now = interrupted;
  if (session_options.ctx == 0) session_options.ctx = std::max(options.prompt + options.decode, options.prefill) + 1;
  session_options.load.n_sequences = std::ranges::max(arguments.streams);
  LoadedModel session = open_session(session_options);
  print_banner(session);
  const ParallelResult result = bench_parallel(*session.model, options);
  tell_refusal(session, session_options);
  print_parallel(arguments, result);
}

void run_bench(const BenchArguments& arguments) {
  if (!arguments.streams.empty()) return run_parallel(arguments);
  SessionOptions session_options = arguments.session;
  const BenchOptions& counts = arguments.options;
  require(counts.prefill > 0 || counts.decode > 0, ErrorKind::usage,
          "nothing to measure: --prefill and --decode are 0");
  if (session_options.ctx == 0) session_options.ctx = counts.depth + std::max(counts.prefill, counts.decode) + 1;
  LoadedModel session = open_session(session_options);
  print_banner(session);
  BenchOptions options = counts;
  options.progress = [](std::string_view what, int done, int total) {
    if (stderr_is_terminal()) note("\r\033[K{} {} of {}{}", what, done, total, done == total ? "\r\033[K" : "");
    return !interrupted();
  };
  options.stop_now = interrupted;
  const BenchResult result = bench(*session.model, options);
  if (!result.hybrid && !result.decode.empty()) {
    keep_seen(this_machine(session.model->options().n_threads), model_key(session.model->file()),
              {.memory = result.read_bandwidth.max(),
               .decoding = result.decode.max() * double(result.active_bytes + result.cache_bytes),
               .on_gpu = runs_on_gpu(*session.model)});
  }
  tell_refusal(session, session_options);
  print_report(session);
  if (arguments.json)
    print_json(arguments, session, result);
  else
    print_text(arguments, result);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "prefill and decode speed, against what memory allows");
  add_model_option(*command, arguments->session);
  add_session_options(*command, arguments->session);
  const auto count = token_count(0, kMostTokens);
  command->add_option("-p,--prefill", arguments->options.prefill, "prompt tokens")
      ->transform(count)
      ->capture_default_str();
  command->add_option("-n,--decode", arguments->options.decode, "generated tokens")
      ->transform(count)
      ->capture_default_str();
  command->add_option("-d,--depth", arguments->options.depth, "tokens in the cache beforehand")
      ->transform(count)
      ->capture_default_str();
  command->add_option("-r,--repetitions", arguments->options.repetitions, "runs of each; the median counts")
      ->transform(whole_number(1, 1000))
      ->capture_default_str();
  command
      ->add_option("--parallel", arguments->streams,
                   "measure so many sequences that decode together, as 1,2,4,8; -d: tokens of each prompt")
      ->transform(whole_number(1, 256))
      ->delimiter(',')
      ->type_name("N,N ...");
  command->add_flag("--json", arguments->json, "print one JSON object instead of text");
  command->callback([arguments] { run_bench(*arguments); });
}

}  // namespace hearth::cli
