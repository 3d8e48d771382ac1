// The command with a GPU, which is the emulated one of build/hearth-emulated; what it says without one is the same as
// what build/hearth says.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <regex>

#include "quant/mapped_file.h"
#include "tests/runtime/cli/terminal.h"

using namespace hearth;
using namespace hearth::test;

namespace {

std::string emulated_program() {
  return (build_dir() / "hearth-emulated").string();
}

// The GPU as HEARTH_EMULATED_GPU describes it (tests/emulation/settings.h).
ProcessResult run_emulated(std::vector<std::string> arguments, const std::string& gpu = "",
                           const std::string& input = "") {
  arguments.insert(arguments.begin(), emulated_program());
  ProcessOptions options{.input = input};
  if (!gpu.empty()) options.environment.push_back({"HEARTH_EMULATED_GPU", gpu});
  return run_process(arguments, options);
}

// With the working memory of 512 tokens at once, whatever the budget: more memory, or less, would hold other experts.
std::vector<std::string> ask(std::vector<std::string> more) {
  std::vector<std::string> all = {"run", demo_model(), "--chat",   "-p", "What is 12 + 7?", "--temp", "0",
                                  "-n",  "12",         "--ubatch", "512"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

TEST_CASE("the whole model on the GPU: the same answer, and the first lines say where it runs") {
  const auto said = run_emulated(ask({"--device", "emulated", "-v"}));
  INFO(said.err);
  CHECK(said.exit_code == 0);
  CHECK(said.out == run_hearth(ask({"--device", "cpu"})).out);
  CHECK(contains(said.err, "running   emulated operations\n"));
  CHECK(contains(said.err, "gpu       emulated GPU, sm_"));
  CHECK(contains(said.err, " on the GPU, "));
  CHECK(contains(said.err, "ready     loaded in "));
  CHECK(contains(said.err, "B/s\n"));
  const auto by_itself = run_emulated(ask({"-v"}));  // where there is one, it is used
  CHECK(by_itself.out == said.out);
  CHECK(contains(by_itself.err, "running   emulated operations\n"));
  const auto table = run_emulated(ask({"-v", "--isa", "scalar"}));  // a table of the CPU was asked for
  CHECK(contains(table.err, "running   scalar operations"));
}

TEST_CASE("no driver: the CPU, and it says so; an error under --strict") {
  const auto loud = run_emulated(ask({"--device", "emulated"}), "driver=none");
  CHECK(loud.exit_code == 0);
  CHECK(loud.err ==
        "hearth: --device emulated: no GPU can be used: no NVIDIA driver is installed; running on the CPU\n");
  CHECK(loud.out == run_hearth(ask({"--device", "cpu"})).out);
  check_refused(run_emulated(ask({"--device", "emulated", "--strict"}), "driver=none"), 1,
                {"--device emulated", "no GPU can be used"});
  const auto silent = run_emulated(ask({"-v"}), "driver=none");
  CHECK(contains(silent.err, "gpu       none: no GPU can be used: "));
  CHECK(contains(silent.err, "running   "));
}

TEST_CASE("a driver older than the toolkit: both versions, and what to do") {
  check_refused(run_emulated(ask({"--device", "emulated", "--strict"}), "driver=old"), 1,
                {"--device emulated: no GPU can be used: the NVIDIA driver is too old: it knows CUDA up to 12.2, and "
                 "this program is built for 13.0; a newer driver is to be installed\n"});
  const auto loud = run_emulated(ask({"--device", "emulated"}), "driver=old");
  CHECK(loud.exit_code == 0);
  CHECK(contains(loud.err, "the NVIDIA driver is too old"));
  CHECK(loud.out == run_hearth(ask({"--device", "cpu"})).out);
}

TEST_CASE("a GPU too old for the kernels is no GPU") {
  check_refused(run_emulated(ask({"--device", "emulated", "--strict"}), "capability=75"), 1,
                {"emulated GPU is too old: compute capability 7.5, expected at least 8.0"});
}

TEST_CASE("bench: the floor is that of the GPU's memory") {
  const auto result = run_emulated({"bench", demo_model(), "-p", "16", "-n", "2", "-r", "1", "--device", "emulated"});
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.out, "; memory gives "));
}

TEST_CASE("bench: with experts on both sides the floor is the host's, and no more of the GPU's memory is asked for") {
  const std::vector<std::string> command = {
      "bench", demo_model(), "-p", "16", "-n", "2", "-r", "1", "--device", "emulated", "--resident-experts", "8"};
  const auto result = run_emulated(command, "memory=80M");
  INFO(result.err);
  CHECK(result.exit_code == 0);
  CHECK(contains(result.out, " of experts read by the CPU per token at "));
  CHECK(contains(result.out, " ms: the GPU at work "));
  for (const char* row : {"         gpu |", "         cpu |"}) {
    const size_t at = result.out.find(row);
    REQUIRE(at != std::string::npos);
    CHECK(result.out.substr(at + 14, 100).find_first_of("#-") != std::string::npos);
  }
  CHECK(contains(result.err, " were on the GPU and "));
}

TEST_CASE("plan: of the GPU that is here, its free memory and what was measured of it, once") {
  const TempDir cache;
  const ProcessOptions options{
      .environment = {{"HEARTH_EMULATED_GPU", "memory=2G,others=1G"}, {"XDG_CACHE_HOME", cache.path().string()}}};
  const std::vector<std::string> command = {emulated_program(), "plan", demo_model(), "--json"};
  const auto result = run_process(command, options);
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  const auto p = nlohmann::json::parse(result.out);
  CHECK(p["all_on_gpu"] == true);
  const uint64_t budget = p["vram"]["budget"], free = uint64_t(1) << 30;
  CHECK(budget <= free);
  CHECK(budget >= free - 4096);  // what the open device takes for itself
  CHECK(p["ram"]["used"] == 0);
  for (const char* what : {"vram", "pcie", "ram"}) {
    CHECK(p["bandwidth"][what]["source"] == "measured");
    CHECK(p["bandwidth"][what]["gb_s"] > 0.0);
  }
  const auto text = run_process({emulated_program(), "plan", demo_model(), "--vram", "3G"}, options);
  CHECK(contains(text.out, "VRAM 3.00 GiB (given; this machine has 2.00 GiB)"));
  CHECK(std::regex_search(text.out, std::regex(R"(VRAM [0-9.]+ \(measured\), RAM [0-9.]+ \(measured\))")));
  CHECK(contains(text.out, "--measure does it again"));
}

TEST_CASE("plan: a GPU runs more tokens at once, and as many as it has room for") {
  const auto planned = [](const std::string& vram) {
    return nlohmann::json::parse(
        run_process({emulated_program(), "plan", demo_model(), "--json", "--vram", vram, "--vram-bandwidth", "500",
                     "--pcie-bandwidth", "20", "--ram-bandwidth", "20", "--disk-bandwidth", "1"})
            .out);
  };
  CHECK(planned("0")["ubatch"] == 512);
  CHECK(planned("1G")["ubatch"] == 2048);
  CHECK(planned("1G")["prefill_copies"] == 0.0);
  const auto small = planned("76M");
  CHECK(small["ubatch"] < 512);
  CHECK(small["all_on_gpu"] == false);
  CHECK(small["prefill_copies"] > 1e6);
  CHECK(small["prefill_copies_tok_s"] ==
        doctest::Approx(double(small["ubatch"]) * 20e9 / double(small["prefill_copies"])));
}

TEST_CASE("a GPU too small for the whole model holds what experts it can, and the answer is the same") {
  const std::string alone = run_hearth(ask({"--device", "cpu"})).out;
  for (const char* vram : {"78M", "80M"}) {
    CAPTURE(vram);
    const auto said = run_emulated(ask({"--device", "emulated", "--vram", vram, "-v"}));
    INFO(said.err);
    CHECK(said.exit_code == 0);
    CHECK(said.out == alone);
    CHECK(contains(said.err, "experts   "));
    CHECK(contains(said.err, " on the GPU ("));
    CHECK(contains(said.err, " were on the GPU and "));
    CHECK(contains(said.err, "cpu       read "));
    CHECK(contains(said.err, "gpu       read "));
    CHECK(contains(said.err, "copies    "));
    CHECK(contains(said.err, "disk      read "));
  }
  for (const char* experts : {"0", "0.5", "1.0"}) {
    CAPTURE(experts);
    const auto said = run_emulated(ask({"--device", "emulated", "--resident-experts", experts}));
    CHECK(said.exit_code == 0);
    CHECK(said.out == alone);
    CHECK(said.err == "");
  }
  for (const char* policy : {"copy", "stream"}) {
    CAPTURE(policy);
    CHECK(run_emulated(ask({"--device", "emulated", "--vram", "80M", "--prefill-experts", policy})).out == alone);
  }
}

// The demo model in a folder of its own, on a GPU that holds some of its experts.
namespace {
struct OwnModel {
  TempDir folder;
  std::string path = folder / "demo.gguf", statistics = path + ".experts";
  OwnModel() { fs::copy_file(demo_model(), path); }
  ProcessResult run(const char* vram = "79M") const {
    std::vector<std::string> arguments = ask({"--device", "emulated", "--vram", vram});
    arguments[1] = path;
    return run_emulated(arguments);
  }
};
}  // namespace

TEST_CASE("use of experts is kept beside the model, and is a hint: damaged or of another model it is ignored") {
  const OwnModel model;
  const auto first = model.run();
  CHECK(first.exit_code == 0);
  CHECK(first.err == "");
  const auto kept = nlohmann::json::parse(std::ifstream(model.statistics));
  CHECK(kept["tokens"].get<double>() > 12);
  const auto second = model.run();
  CHECK(second.out == first.out);
  CHECK(second.err == "");
  CHECK(nlohmann::json::parse(std::ifstream(model.statistics))["tokens"].get<double>() > kept["tokens"].get<double>());

  std::ofstream(model.statistics) << "not JSON";
  const auto damaged = model.run();
  CHECK(damaged.exit_code == 0);
  CHECK(damaged.out == first.out);
  CHECK(damaged.err.starts_with("hearth: " + model.statistics + ": "));
  CHECK(std::ranges::count(damaged.err, '\n') == 1);
  CHECK(nlohmann::json::parse(std::ifstream(model.statistics)).contains("counts"));  // whole again

  const OwnModel other;
  run_hearth({"convert", demo_checkpoint(), other.folder / "f16.gguf", "--recipe", "f32"});
  fs::rename(other.folder / "f16.gguf", other.path);
  fs::copy_file(model.statistics, other.statistics);
  const auto strange = other.run("90M");
  CHECK(strange.exit_code == 0);
  CHECK(contains(strange.err, other.statistics + ": is of another model: expected "));
}

TEST_CASE("a plan knows the use of experts, and a session the speed of prompts, from those before") {
  const OwnModel model;
  const TempDir cache;
  const ProcessOptions options{.environment = {{"XDG_CACHE_HOME", cache.path().string()}}};
  std::vector<std::string> arguments = ask({"--device", "emulated", "--vram", "79M"});
  arguments[0] = emulated_program();
  arguments.insert(arguments.begin() + 1, {"run", model.path});
  arguments.erase(arguments.begin() + 3);
  REQUIRE(run_process(arguments, options).exit_code == 0);
  const auto figures = nlohmann::json::parse(std::ifstream(cache / "hearth/bandwidth.json"))["bytes_per_s"];
  int n_rates = 0;
  for (const auto& [name, rate] : figures.items())
    n_rates += name.starts_with("prefill ") && contains(name, "emulated GPU") && rate.get<double>() > 0;
  CHECK(n_rates >= 2);  // host and copies; with so few tokens, perhaps not what many cost

  const std::vector<std::string> plan = {emulated_program(),
                                         "plan",
                                         model.path,
                                         "--ubatch",
                                         "512",
                                         "--json",
                                         "--vram",
                                         "79M",
                                         "--vram-bandwidth",
                                         "500",
                                         "--ram-bandwidth",
                                         "50",
                                         "--pcie-bandwidth",
                                         "20",
                                         "--disk-bandwidth",
                                         "2"};
  const auto planned = [&] {
    const auto result = run_process(plan, options);
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
    return nlohmann::json::parse(result.out);
  };
  const auto known = planned();
  CHECK(known["tokens_known"] > 12);
  fs::remove(model.statistics);
  const auto unknown = planned();
  CHECK(unknown["tokens_known"] == 0);
  CHECK(known["experts_resident"] == unknown["experts_resident"]);
  CHECK(known["expected_share"]["vram"] > unknown["expected_share"]["vram"]);
  std::ofstream(model.statistics) << "not JSON";
  CHECK(contains(run_process(plan, options).err, model.statistics + ": "));
}

TEST_CASE("the router's choices are recorded the same with experts on the GPU, in part or all of them") {
  const OwnModel model;
  const auto recorded = [&](std::vector<std::string> more) {
    const std::string path = model.folder / "trace";
    more.insert(more.end(), {"--record-experts", path});
    std::vector<std::string> arguments = ask(more);
    CHECK(run_emulated(arguments).exit_code == 0);
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string cpu = recorded({"--device", "cpu"});
  CHECK(cpu.size() > 100);
  for (const char* vram : {"99M", "79M"}) {
    const std::string gpu = recorded({"--device", "emulated", "--vram", vram});
    REQUIRE(gpu.size() == cpu.size());
    size_t n_different = 0;  // close calls of the router, which other rounding turns
    for (size_t i = 0; i < cpu.size(); ++i) n_different += gpu[i] != cpu[i];
    MESSAGE(fmt::format("{}: {} of {} bytes differ", vram, n_different, cpu.size()));
    CHECK(n_different * 20 < cpu.size());
  }
}

TEST_CASE("budgets that cannot be") {
  check_refused(run_emulated(ask({"--device", "emulated", "--vram", "10M"})), 1,
                {"the GPU's memory: 10.0 MiB are too little, the least is ", "kv_cache 2.50 MiB", "driver 64.0 MiB",
                 "attention ", " more would be needed even for a context of 256 tokens\n"});
  check_refused(run_emulated(ask({"--device", "emulated", "--vram", "900G"})), 1,
                {"--vram: expected at most the 8.00 GiB of the GPU's memory, found 900 GiB\n"});
  check_refused(run_emulated(ask({"--device", "emulated", "--ram", "900T"})), 1,
                {"--ram: expected at most the ", " of this machine's memory, found 900 TiB\n"});
  check_refused(run_emulated(ask({"--device", "emulated", "--ram", "1M", "--vram", "79M"})), 1,
                {"the host's memory: 1.00 MiB are too little, the least is "});
  check_refused(run_emulated(ask({"--device", "emulated", "--vram", "much"})), 2, {"--vram: ", "much"});
  check_refused(run_emulated(ask({"--device", "emulated", "--resident-experts", "5000"})), 2,
                {"--resident-experts: expected 0 to ", "found \"5000\"\n"});
  check_refused(run_emulated(ask({"--device", "emulated", "--vram", "78M", "--resident-experts", "1.0"})), 1,
                {"resident experts: ", " fit into the "});
  check_refused(run_emulated(ask({"--device", "cpu", "--vram", "1G"})), 2, {"--vram: the model runs on the CPU alone"});
  check_refused(run_emulated(ask({"--resident-experts", "1"}), "driver=none"), 2,
                {"--resident-experts: the model runs on the CPU alone", "no NVIDIA driver is installed"});
}

TEST_CASE("memory that may not be page-locked: slower, said loudly, and an error under --strict") {
  const auto loud = run_emulated(ask({"--device", "emulated", "--resident-experts", "0.5"}), "lockable=0");
  CHECK(loud.exit_code == 0);
  CHECK(loud.out == run_hearth(ask({"--device", "cpu"})).out);
  CHECK(loud.err.starts_with("hearth: the system refused to lock "));
  CHECK(loud.err.ends_with(
      " bytes of memory in place: copies to and from the GPU are slower, and no step is recorded\n"));
  check_refused(run_emulated(ask({"--device", "emulated", "--strict"}), "lockable=0"), 1,
                {"--strict: the system refused to lock "});
}

TEST_CASE("a GPU too small for what must be there: the numbers, and the CPU unless somebody insists") {
  check_refused(run_emulated(ask({"--device", "emulated"}), "memory=4M"), 1,
                {"the GPU's memory: 4.00 MiB are too little, the least is "});
  check_refused(run_emulated(ask({"--strict"}), "memory=4M"), 1, {"the GPU's memory: 4.00 MiB are too little"});
  const auto loud = run_emulated(ask({}), "memory=4M");
  CHECK(loud.exit_code == 0);
  CHECK(contains(loud.err, "the GPU's memory: 4.00 MiB are too little"));
  CHECK(contains(loud.err, "; running on the CPU\n"));
  CHECK(loud.out == run_hearth(ask({"--device", "cpu"})).out);
}

TEST_CASE("a GPU shared with other programs: what is free counts, and both run where both fit") {
  check_refused(run_emulated(ask({"--device", "emulated"}), "memory=160M,others=120M"), 1,
                {"the GPU's memory: 40.0 MiB are too little, the least is "});
  check_refused(run_emulated(ask({"--device", "emulated"}), "memory=160M,others_later=155M"), 1,
                {"out of memory: ", " bytes are needed for ", "but of the GPU's 167772160 only 5242368 are free"});
  const auto fallback = run_emulated(ask({}), "memory=160M,others_later=155M");
  CHECK(fallback.exit_code == 0);
  CHECK(contains(fallback.err, "; running on the CPU\n"));
  const auto run = [] { return run_emulated(ask({"--device", "emulated", "--strict"}), "memory=320M,others=150M"); };
  auto other = std::async(std::launch::async, run);
  const auto one = run(), two = other.get();
  CHECK(one.exit_code == 0);
  CHECK(two.exit_code == 0);
  CHECK(one.out == two.out);
}

namespace {

// The error is the last line, and one line. Before it stand only the emulation's own words and what the command says
// when it starts.
void check_failed(const ProcessResult& result, const std::string& what = "") {
  INFO("stderr: ", result.err);
  INFO("stdout: ", result.out);
  CHECK(result.exit_code == 1);
  const size_t last = result.err.rfind("hearth: ");
  REQUIRE(last != std::string::npos);
  CHECK(result.err.find('\n', last) == result.err.size() - 1);
  CHECK(result.err.find("hearth: ") == last);
  CHECK(contains(result.err.substr(last), what));
}

}  // namespace

TEST_CASE("a GPU that fails while a model loads, or in the middle of an answer: one clear error") {
  for (const char* fault : {"fail_launch=3", "fail_launch=400", "fail_copy=1", "fail_copy=60", "fail_allocation=2"}) {
    CAPTURE(fault);
    const auto result = run_emulated(ask({"--device", "emulated"}), fault);
    check_failed(result);
    CHECK((result.out.empty() || result.out.back() == '\n'));
    CHECK(run_emulated(ask({"--device", "emulated", "--json"}), fault).out == "");
  }
}

TEST_CASE("a GPU without the little memory that opening it takes: said, and the CPU answers unless --strict") {
  const char* const reason = "the GPU cannot be opened: out of memory";
  const auto result = run_emulated(ask({"--device", "emulated"}), "fail_allocation=1");
  CHECK(result.exit_code == 0);
  CHECK(result.out == "12 + 7 = 19\n");
  CHECK(contains(result.err, std::string(reason) + "; running on the CPU\n"));
  check_failed(run_emulated(ask({"--device", "emulated", "--strict"}), "fail_allocation=1"), reason);
}

TEST_CASE("a driver that refuses to record steps: the same answer, one line, an error under --strict; --no-graphs") {
  const std::string alone = run_hearth(ask({"--device", "cpu"})).out;
  const std::string line = "the GPU's driver refused to record a step (recording a step: out of memory)";
  for (const char* share : {"1.0", "0.5"}) {
    CAPTURE(share);
    for (const char* fault : {"fail_recording=1", "fail_recording=2", "fail_recording=3"}) {
      const auto result = run_emulated(ask({"--device", "emulated", "--resident-experts", share}), fault);
      CHECK(result.exit_code == 0);
      CHECK(result.out == alone);
      const size_t at = result.err.find(line);
      CHECK_MESSAGE(at != std::string::npos, result.err);
      CHECK(result.err.find(line, at + 1) == std::string::npos);
    }
  }
  check_failed(run_emulated(ask({"--device", "emulated", "--strict"}), "fail_recording=2"), "--strict: " + line);
  const auto plain = run_emulated(ask({"--device", "emulated", "--strict", "--no-graphs"}), "fail_recording=1");
  CHECK(plain.exit_code == 0);  // nothing was recorded
  CHECK(plain.out == alone);
}

TEST_CASE("several GPUs: the one with the most memory, or the one that is asked for") {
  const std::string gpus = "gpus=3,large_gpu=1,memory=4G";
  CHECK(contains(run_emulated(ask({"-v"}), gpus).err, "sm_89, 4.0 GiB, GPU 1 of 0 to 2\n"));
  CHECK(contains(run_emulated(ask({"-v", "--gpu", "2"}), gpus).err, "sm_89, 2.0 GiB, GPU 2 of 0 to 2\n"));
  const auto missing = run_emulated(ask({"--gpu", "3"}), gpus);
  CHECK(missing.exit_code == 0);
  CHECK(contains(missing.err, "hearth: --gpu 3: there is no GPU 3: expected 0 to 2; running on the CPU\n"));
  check_failed(run_emulated(ask({"--gpu", "3", "--strict"}), gpus), "--gpu 3: there is no GPU 3: expected 0 to 2");
  check_refused(run_emulated(ask({"--gpu", "0", "--device", "cpu"}), gpus), 2,
                {"--gpu 0: the model is to run on the CPU"});
  check_refused(run_emulated(ask({"--gpu", "-1"}), gpus), 2, {"--gpu", "-1"});
  const TempDir cache;
  const auto plan = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command = {emulated_program(), "plan", demo_model()};
    command.insert(command.end(), more.begin(), more.end());
    return run_process(command,
                       {.environment = {{"HEARTH_EMULATED_GPU", gpus}, {"XDG_CACHE_HOME", cache.path().string()}}});
  };
  CHECK(contains(plan({}).out, "VRAM 4.00 GiB"));
  CHECK(contains(plan({"--gpu", "0"}).out, "VRAM 2.00 GiB"));
  check_refused(plan({"--gpu", "7"}), 1, {"--gpu 7: there is no GPU 7: expected 0 to 2"});
}

TEST_CASE("a GPU for which there is no code: its driver translates, and that is said before it takes its time") {
  const auto result = run_emulated(ask({}), "capability=103");
  CHECK(result.exit_code == 0);
  CHECK(contains(result.err, "hearth: this build has no code for sm_103: the driver translates the kernels"));
  for (const char* known : {"capability=86", "capability=120"})
    CHECK(!contains(run_emulated(ask({}), known).err, "no code for"));
}

TEST_CASE("--reproducible: the same seed, the same text, wherever experts are") {
  const auto run = [](const char* resident) {
    return run_emulated({"run", demo_model(), "Count from 10 to 17.", "-n", "16", "--temp", "1", "--seed", "7",
                         "--reproducible", "--resident-experts", resident});
  };
  const auto whole = run("1.0"), half = run("0.5");
  CHECK(whole.exit_code == 0);
  CHECK(half.exit_code == 0);
  CHECK(whole.out.size() > 16);
  CHECK(half.out == whole.out);
}

TEST_CASE("--cache-type f32 on a GPU: what rounds all the same is said, and refused under --strict") {
  const char* const line = "--cache-type f32: on a GPU the attention of prompts rounds to BF16";
  const auto result = run_emulated(ask({"--device", "emulated", "--cache-type", "f32"}));
  CHECK(result.exit_code == 0);
  CHECK(contains(result.err, line));
  check_failed(run_emulated(ask({"--device", "emulated", "--cache-type", "f32", "--strict"})), line);
  CHECK(run_hearth(ask({"--device", "cpu", "--cache-type", "f32", "--strict"})).exit_code == 0);
}

TEST_CASE("a GPU that is lost in a conversation ends it: answers given stand, and nobody waits for another") {
  const std::string gpu = "fail_launch=600";
  const std::vector<std::string> arguments = {"chat", demo_model(), "--temp", "0", "--device", "emulated"};
  const auto piped = run_emulated(arguments, gpu, "What is 2 + 3?\nWhat is the capital of France?\nHello!\n");
  check_failed(piped, "emulated: ");
  CHECK(contains(piped.out, "2 + 3 = 5\n"));
  CHECK(!contains(piped.out, "Hello"));
  const TempDir home;
  Terminal terminal(home.path().string(), {"--temp", "0", "--device", "emulated"}, emulated_program(), gpu);
  REQUIRE(terminal.wait_for("/help lists"));
  for (const char* question : {"What is 2 + 3?\r", "What is the capital of France?\r"}) {
    REQUIRE_MESSAGE(terminal.wait_for("> "), terminal.screen());
    terminal.type(question);
  }
  REQUIRE_MESSAGE(terminal.wait_for("hearth: emulated: "), terminal.screen());
  CHECK(terminal.exit_code() == 1);
}

TEST_CASE("a GPU that is lost while it measures: no result, and no file half written") {
  const std::string gpu = "fail_launch=1500";
  const auto bench =
      run_emulated({"bench", demo_model(), "-p", "16", "-n", "16", "-r", "2", "--json", "--device", "emulated"}, gpu);
  check_failed(bench, "emulated: ");
  CHECK(bench.out == "");
  const TempDir folder;
  const std::string text = folder / "text", output = folder / "output";
  std::ofstream(text) << std::string(2000, 'x') << "\n";
  const auto perplexity = run_emulated(
      {"perplexity", demo_model(), "--file", text, "--ctx", "64", "--save-baseline", output, "--device", "emulated"},
      "fail_launch=400");
  check_failed(perplexity, "emulated: ");
  CHECK(perplexity.out == "");
  check_failed(run_emulated({"logits", demo_model(), "--tokens", "1,2,3", "-o", output, "--device", "emulated"},
                            "fail_launch=9"),
               "emulated: ");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);  // the text
}

// A cold start: the file is on the disk and not in memory.
TEST_CASE("a file that has to be read says how far it is, how fast, and how long it will take" *
          doctest::test_suite("may skip")) {
  const auto forget = [] {
    const int file = open(demo_model().c_str(), O_RDONLY);
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
    return MappedFile(demo_model()).cached_share() < 0.9;
  };
  if (!forget()) {
    MESSAGE("SKIP: the file system of ", demo_model(), " keeps its files in memory");
    return;
  }
  const TempDir home;
  // Uploading reads it as well; what is not in memory then is read as without a GPU.
  const std::vector<std::string> cpu = {"--device", "cpu"}, gpu = {"--device", "emulated", "--vram", "79M"};
  for (const bool on_gpu : {false, true}) {
    CAPTURE(on_gpu);
    forget();
    Terminal terminal(home.path().string(), on_gpu ? gpu : cpu, emulated_program());
    for (const char* part : {on_gpu ? "loading [" : "reading [", "] ", " %  ", "B/s  ", " left  "})
      REQUIRE_MESSAGE(terminal.wait_for(part), terminal.screen());
    CHECK_MESSAGE(terminal.wait_for("\r\033[K"), terminal.screen());  // and goes when it is done
    CHECK_MESSAGE(terminal.wait_for("/help lists"), terminal.screen());
    terminal.type("/exit\r");
    CHECK(terminal.exit_code() == 0);
  }
}
