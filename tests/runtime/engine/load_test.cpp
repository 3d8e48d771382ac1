// Opening a model with the engine alone, where there is a GPU, the emulated one: what is chosen, told and refused.
#include "runtime/engine/load.h"

#include <doctest/doctest.h>

#include <fstream>

#include "runtime/offload/expert_cache.h"
#include "runtime/offload/expert_stats.h"
#include "runtime/offload/hybrid.h"
#include "runtime/support/system_memory.h"
#include "tests/runtime/engine/gpu_scope.h"
#include "tests/runtime/engine/loadable.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr uint64_t kGiB = uint64_t(1) << 30;
const std::vector<std::string> kNothing;

}  // namespace

TEST_CASE("load: on the CPU where that is asked for, and nobody asks for a GPU") {
  const Loadable file;
  Told told;
  LoadedModel loaded = load_model(file.options(DeviceChoice::cpu), told.listener());
  CHECK(told.notes == kNothing);
  CHECK(!told.shown);
  CHECK(!runs_on_gpu(*loaded.model));
  CHECK(loaded.gpu_text() == "");
  CHECK(loaded.statistics_path == "");
  CHECK(loaded.load_seconds > 0);
  CHECK(loaded.model->options().ops == &cpu_ops("auto"));
  const auto answer = some_answer(loaded);
  CHECK(answer.size() == 4);
  for (const Token token : answer) CHECK(token < Token(loaded.tokenizer->size()));  // of a head that is wider

  LoadOptions named = file.options();  // a table of the CPU was asked for
  named.isa = "scalar";
  const LoadedModel scalar = load_model(named, told.listener());
  CHECK(scalar.model->options().ops == &cpu_ops("scalar"));
  CHECK(scalar.gpu_text() == "");
  CHECK(told.notes == kNothing);
}

TEST_CASE("load: on the GPU where there is one, with what is loaded told as it goes") {
  const Loadable file;
  for (const DeviceChoice device : {DeviceChoice::automatic, DeviceChoice::gpu}) {
    Told told;
    const LoadedModel loaded = load_model(file.options(device), told.listener());
    CHECK(runs_on_gpu(*loaded.model));
    CHECK(loaded.gpu_text() == open_gpu().description);
    CHECK(told.notes == kNothing);
    CHECK(told.titles == std::vector<std::string>{"loading"});
    CHECK(told.done == told.total);
    CHECK(told.total > 0);
    CHECK(!told.shown);
    CHECK(some_answer(loaded) == some_answer(load_model(file.options(DeviceChoice::cpu))));
  }
}

TEST_CASE("load: a GPU that is too small is said, and the CPU takes over unless somebody insists") {
  const Loadable file;
  const GpuScope scope;
  emulation::settings().memory = gpu_bytes_taken() + (size_t(1) << 20);
  Told told;
  const LoadedModel loaded = load_model(file.options(), told.listener());
  CHECK(!runs_on_gpu(*loaded.model));
  CHECK(loaded.gpu_text() == open_gpu().description + ", too small");
  REQUIRE(told.notes.size() == 1);
  CHECK(told.notes[0].starts_with(file.path + ": the GPU's memory: 1.00 MiB are too little, the least is "));
  CHECK(told.notes[0].ends_with("; running on the CPU"));
  CHECK(some_answer(loaded).size() == 4);

  LoadOptions strict = file.options();
  strict.strict = true;
  for (const LoadOptions& options : {strict, file.options(DeviceChoice::gpu)})
    CHECK(mentions(load_refusal(ErrorKind::resource, options), {"the GPU's memory: 1.00 MiB are too little"}));
  LoadOptions budget = file.options();
  budget.resident_experts = [](int64_t) { return int64_t(0); };
  CHECK(load_refusal(ErrorKind::usage, budget, told.notes) ==
        "--resident-experts: the model runs on the CPU alone; gpu: " + open_gpu().description + ", too small");
}

TEST_CASE("load: budgets beyond what there is are refused") {
  const Loadable file;
  LoadOptions options = file.options();
  options.vram = 900 * kGiB;
  CHECK(load_refusal(ErrorKind::resource, options) ==
        "--vram: expected at most the 8.00 GiB of the GPU's memory, found 900 GiB");
  for (const DeviceChoice device : {DeviceChoice::automatic, DeviceChoice::cpu}) {
    options = file.options(device);
    options.ram = uint64_t(1) << 62;
    if (total_memory() > 0)
      CHECK(mentions(load_refusal(ErrorKind::resource, options),
                     {"--ram: expected at most the ", " of this machine's memory, found "}));
  }
}

TEST_CASE("load: what only a GPU can heed is refused without one, and --ram is said to do little") {
  const Loadable file;
  LoadOptions options = file.options(DeviceChoice::cpu);
  options.vram = kGiB;
  CHECK(load_refusal(ErrorKind::usage, options) == "--vram: the model runs on the CPU alone");
  options = file.options(DeviceChoice::cpu);
  options.resident_experts = [](int64_t) { return int64_t(1); };
  CHECK(load_refusal(ErrorKind::usage, options) == "--resident-experts: the model runs on the CPU alone");
  options = file.options(DeviceChoice::cpu);
  options.ram = kGiB;
  Told told;
  load_model(options, told.listener());
  CHECK(told.notes == std::vector<std::string>{
                          "--ram: on the CPU alone it counts only for how many tokens of a prompt are run at once"});
}

TEST_CASE("load: how many experts are resident is asked when it is known how many there are") {
  const Loadable file;
  LoadOptions options = file.options(DeviceChoice::gpu);
  int64_t told_of = 0;
  options.resident_experts = [&](int64_t all) {
    told_of = all;
    return all / 4;
  };
  const LoadedModel loaded = load_model(options);
  CHECK(told_of == 16);  // two layers of eight
  REQUIRE(loaded.model->hybrid());
  CHECK(loaded.model->plan().n_resident() == 4);
  options.resident_experts = [](int64_t all) -> int64_t { fail(ErrorKind::usage, "not {} of them", all); };
  CHECK(load_refusal(ErrorKind::usage, options) == "not 16 of them");
}

TEST_CASE("load: use of experts is kept when a model goes, and taken up by the next; a damaged file is said") {
  const Loadable file;
  LoadOptions options = file.options(DeviceChoice::gpu);
  options.resident_experts = [](int64_t) { return int64_t(4); };
  const std::string statistics = expert_stats_path(file.path);
  double tokens = 0;
  {
    const LoadedModel first = load_model(options);
    CHECK(first.statistics_path == statistics);
    some_answer(first);
    tokens = first.model->expert_cache()->use().tokens();
    CHECK(tokens > 0);
    CHECK(!fs::exists(statistics));
  }
  REQUIRE(fs::exists(statistics));
  CHECK(read_expert_stats(statistics).tokens == doctest::Approx(tokens));
  {
    Told told;
    const LoadedModel second = load_model(options, told.listener());
    CHECK(told.notes == kNothing);
    CHECK(second.model->options().expert_use_tokens == doctest::Approx(tokens));
  }
  std::ofstream(statistics) << "not JSON";
  Told told;
  load_model(options, told.listener());
  REQUIRE(told.notes.size() == 1);
  CHECK(told.notes[0].starts_with(statistics + ": "));
  CHECK(told.notes[0].ends_with("; ignored"));
}

TEST_CASE("load: rates of prompts and the speed of decoding are kept for the next time") {
  const Loadable file;
  LoadOptions options = file.options(DeviceChoice::gpu);
  options.resident_experts = [](int64_t) { return int64_t(4); };
  const uint64_t key = model_key(GgufFile::open(file.path));
  keep_rates(this_machine(1), key, {5e9, 1000, 2e9});
  CHECK(load_model(options).model->options().prefill_rates.host_bandwidth == 5e9);

  const LoadedModel loaded = load_model(file.options(DeviceChoice::cpu));
  GenerateResult result;
  result.decode_steps = 15;
  result.decode_seconds = 1;
  keep_decode_speed(loaded, result);  // too few to tell
  CHECK(!read_kept(this_machine(1)).contains(decode_figure(key, "")));
  result.decode_steps = 16;
  keep_decode_speed(loaded, result);
  const KeptFigures kept = read_kept(this_machine(1));
  REQUIRE(kept.contains(decode_figure(key, "")));
  CHECK(kept.at(decode_figure(key, "")).value == doctest::Approx(16.0 * double(loaded.model->active_bytes())));
}

TEST_CASE("load: what is told stands before the error that follows it") {
  const Loadable file;
  LoadOptions options = file.options(DeviceChoice::cpu);
  const int cores = default_threads();
  options.threads = cores + 1;
  const std::string note = fmt::format("{} threads on {} core{}: more threads than cores are slower than --threads {}",
                                       cores + 1, cores, cores == 1 ? "" : "s", cores);
  Told told;
  CHECK(load_model(options, told.listener()).model->options().n_threads == cores + 1);
  CHECK(told.notes == std::vector<std::string>{note});
  options.path = file.folder / "missing.gguf";
  CHECK(mentions(load_refusal(ErrorKind::file, options, {note}), {"missing.gguf"}));
}

TEST_CASE("load: what a file does not say and is guessed is told, with its name") {
  GgufMetadata vocabulary = whole_vocabulary();
  vocabulary.erase(key::kAddBosToken);
  const Loadable file(vocabulary);
  LoadOptions options = file.options(DeviceChoice::cpu);
  Told told;
  load_model(options, told.listener());
  REQUIRE(told.notes.size() == 1);
  CHECK(told.notes[0].starts_with(file.path + ": tokenizer.ggml.add_bos_token is missing: assumed true"));
  options.vram = kGiB;
  CHECK(load_refusal(ErrorKind::usage, options, told.notes) != "");
  options.vram.reset();
  options.needs_text = false;
  Told nothing;
  load_model(options, nothing.listener());
  CHECK(nothing.notes == kNothing);
}

TEST_CASE("load: the context, and one that is too long") {
  const Loadable file;
  LoadOptions options = file.options(DeviceChoice::cpu);
  options.n_ctx = 32;
  CHECK(load_model(options).model->options().n_ctx == 32);
  options.whole_context = true;
  CHECK(load_model(options).model->options().n_ctx == 256);
  options.whole_context = false;
  options.n_ctx = 257;
  CHECK(mentions(load_refusal(ErrorKind::resource, options), {"a context of 257 tokens is too long", "256"}));
}

TEST_CASE("load: a table that is not there is refused") {
  const Loadable file;
  LoadOptions options = file.options();
  options.isa = "sse9";
  CHECK(mentions(load_refusal(ErrorKind::usage, options), {"sse9"}));
}

TEST_CASE("load: a file without a vocabulary will do where no text is needed") {
  const Loadable file{GgufMetadata()};
  LoadOptions options = file.options(DeviceChoice::cpu);
  CHECK(load_refusal(ErrorKind::format, options) != "");
  options.needs_text = false;
  CHECK(load_model(options).tokenizer == nullptr);
}

TEST_CASE("load: who looks at the header, or is asked whether to go on, may end it") {
  const Loadable file;
  for (const DeviceChoice device : {DeviceChoice::cpu, DeviceChoice::gpu}) {
    LoadListener listener;
    int looked = 0, asked = 0;
    listener.header_read = [&](const GgufFile& opened) {
      CHECK(opened.path() == file.path);
      CHECK(asked == 0);
      ++looked;
    };
    listener.check = [&] { ++asked; };
    load_model(file.options(device), listener);
    CHECK(looked == 1);
    CHECK(asked > 0);
    asked = 0;
    listener.check = [] { fail(ErrorKind::interrupted, "interrupted"); };
    CHECK(refusal(ErrorKind::interrupted, [&] { load_model(file.options(device), listener); }) == "interrupted");
    listener.check = {};
    listener.header_read = [](const GgufFile&) { fail(ErrorKind::format, "not finite"); };
    CHECK(refusal(ErrorKind::format, [&] { load_model(file.options(device), listener); }) == "not finite");
  }
}
