// Bad input gets one clear line that names what was expected and found, an exit code that is not 0, and loses nothing.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/runtime/cli/hearth.h"

using namespace hearth::test;

namespace {

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void spill(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("the command line itself") {
  check_refused(run_hearth({}), 2, {"subcommand", "hearth --help"});
  check_refused(run_hearth({"fly"}), 2, {"fly"});
  check_refused(run_hearth({"run", demo_model(), "-p", "x", "--warp", "9"}), 2, {"--warp", "hearth run --help"});
  check_refused(run_hearth({"run"}), 2, {"model"});
  check_refused(run_hearth({"convert", "only-one"}), 2, {"output"});
  CHECK(run_hearth({"--help"}).exit_code == 0);
  CHECK(run_hearth({"--version"}).exit_code == 0);
  for (const char* command : {"pull", "convert", "quantize", "export", "imatrix", "chat", "run", "inspect", "verify",
                              "tokenize", "logits", "perplexity", "bench"})
    CHECK_MESSAGE(run_hearth({command, "--help"}).exit_code == 0, command);
}

TEST_CASE("values out of range, and two sources of one option") {
  const std::string& m = demo_model();
  check_refused(run_hearth({"run", m, "-p", "x", "-t", "-3"}), 2, {"--threads", "-3"});
  check_refused(run_hearth({"run", m, "-p", "x", "-t", "two"}), 2, {"--threads", "two"});
  check_refused(run_hearth({"run", m, "-p", "x", "-n", "0"}), 2, {"--max-tokens"});
  check_refused(run_hearth({"run", m, "-p", "x", "--isa", "mmx"}), 2, {"mmx", "scalar"});
  check_refused(run_hearth({"run", m, "-p", "x", "--device", "tpu"}), 2, {"--device", "tpu"});
  check_refused(run_hearth({"run", m, "-p", "x", "--temp", "-1"}), 2, {"temp", "-1"});
  check_refused(run_hearth({"run", m, "-p", "x", "--top-p", "1.5"}), 2, {"1.5"});
  check_refused(run_hearth({"run", m, "-p", "x", "--frequency-penalty", "2.1"}), 2, {"expected a number from -2 to 2"});
  check_refused(run_hearth({"chat", m, "--presence-penalty", "-2.1"}), 2,
                {"--presence-penalty", "from -2 to 2", "-2.1"});
  check_refused(run_hearth({"run", m, "-p", "x", "--cache-type", "q4"}), 2, {"--cache-type", "q4"});
  check_refused(run_hearth({"run", m, "-p", "x", "-p", "y"}), 2, {"--prompt: expected once, found 2 times"});
  check_refused(run_hearth({"run", m, "-p", "x", "--file", "/dev/null"}), 2, {"--file", "--prompt"});
  check_refused(run_hearth({"run", m, "-p", "x", "--system", "y"}), 2, {"--system", "--chat"});
  check_refused(run_hearth({"run", m, "-p", "x", "--stop", ""}), 2, {"--stop: expected text, found nothing"});
  check_refused(run_hearth({"chat", m, "--stop", "x", "--stop", ""}), 2, {"--stop: expected text, found nothing"});
  check_refused(run_hearth({"chat", m, "--stop", "\xff"}), 2, {"--stop: expected UTF-8, found a bad byte at offset 0"});
  check_refused(run_hearth({"run", m, "-p", "x", "--stop"}), 2, {"--stop"});
  check_refused(run_hearth({"tokenize", m, "--ids", "--pieces"}), 2, {"--ids", "--pieces"});
}

TEST_CASE("nonsense in a number, whatever option it is for, is one line that names the option") {
  const std::string& m = demo_model();
  const std::vector<std::pair<std::string, std::string>> of_run = {{"--ctx", "--ctx"},
                                                                   {"--threads", "--threads"},
                                                                   {"-n", "--max-tokens"},
                                                                   {"--ubatch", "--ubatch"},
                                                                   {"--temp", "--temp"},
                                                                   {"--top-k", "--top-k"},
                                                                   {"--top-p", "--top-p"},
                                                                   {"--min-p", "--min-p"},
                                                                   {"--seed", "--seed"},
                                                                   {"--ram", "--ram"},
                                                                   {"--vram", "--vram"},
                                                                   {"--repeat-penalty", "--repeat-penalty"},
                                                                   {"--repeat-window", "--repeat-window"},
                                                                   {"--frequency-penalty", "--frequency-penalty"},
                                                                   {"--presence-penalty", "--presence-penalty"}};
  for (const auto& [option, name] : of_run) {
    for (const char* bad : {"banana", "nan", "inf", "-7", "", "99999999999999999999999", "1e999", "0x10", "5 5"}) {
      CAPTURE(option);
      CAPTURE(bad);
      check_refused(run_hearth({"run", m, "-p", "x", option, bad}), 2, {name + ": expected", bad});
    }
  }
  for (const char* bad : {"banana", "-1", "1e3", "99999999999999999999999"}) {
    for (const char* option : {"-p", "-n", "-d", "-r"}) check_refused(run_hearth({"bench", m, option, bad}), 2, {bad});
    for (const char* option : {"--ctx", "--ubatch", "--vram", "--ram", "--threads", "--ram-bandwidth"}) {
      if (std::string(option) == "--ram-bandwidth" && std::string(bad) == "1e3") continue;
      check_refused(run_hearth({"plan", m, option, bad}), 2, {option, bad});
    }
  }
  check_refused(run_hearth({"plan", m, "--ram", "0"}), 2, {"--ram", "above 0"});
}

TEST_CASE("numbers as people write them") {
  const std::string& m = demo_model();
  const auto said = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"run", m, "-p", "The sun", "--temp", "0", "-n", "3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = run_hearth(arguments);
    CHECK_MESSAGE(result.exit_code == 0, result.err);
    return result.out;
  };
  const std::string expected = said({});
  CHECK(said({"--threads", "0"}) == expected);
  CHECK(said({"--ctx", "1k"}) == expected);
  CHECK(said({"--ctx", "0"}) == expected);
  CHECK(said({"--ubatch", "1K"}) == expected);
  CHECK(said({"--seed", "18446744073709551615"}) == expected);
  CHECK(said({"--seed", "random"}) == expected);
  CHECK(said({"--seed", "-1"}) == expected);
  const auto plan = [&](const char* ram) {
    return run_hearth({"plan", m, "--vram", "0", "--ram", ram, "--ram-bandwidth", "10", "--disk-bandwidth", "1"}).out;
  };
  CHECK(contains(plan("16G"), "16.0 GiB"));
  CHECK(plan("16GB") == plan("16G"));
  CHECK(plan("16gib") == plan("16G"));
  // Where it does nothing, that is said.
  const auto ram = run_hearth({"run", m, "-p", "x", "-n", "1", "--ram", "16G", "--device", "cpu"});
  CHECK(ram.exit_code == 0);
  CHECK(contains(ram.err, "--ram"));
}

TEST_CASE("token ids") {
  TempDir dir;
  const auto logits = [&](const char* tokens) {
    return run_hearth({"logits", demo_model(), "--tokens", tokens, "-o", dir / "out"});
  };
  for (const char* bad : {"", ",", "1,,2", "1,2,", ",1", "1;2", "1 2", "-1", "1.5", "99999999999", "one"}) {
    CAPTURE(bad);
    check_refused(logits(bad), 2, {"--tokens"});
    CHECK(fs::is_empty(dir.path()));
  }
  CHECK(logits("1, 2 ,3").exit_code == 0);
  CHECK(fs::file_size(dir / "out") % 3 == 0);
}

TEST_CASE("--strict makes a fallback an error; without it the fallback is said") {
  const ProcessOptions no_gpu = {.environment = {{"CUDA_VISIBLE_DEVICES", ""}}};
  check_refused(run_hearth({"run", demo_model(), "-p", "x", "--device", "cuda", "--strict"}, no_gpu), 1, {"cuda"});
  const auto loud = run_hearth({"run", demo_model(), "-p", "x", "-n", "1", "--device", "cuda"}, no_gpu);
  CHECK(loud.exit_code == 0);
  CHECK(contains(loud.err, "running on the CPU"));
}

TEST_CASE("prompts") {
  const std::string& m = demo_model();
  check_refused(run_hearth({"run", m, "-p", ""}), 2, {"empty"});
  check_refused(run_hearth({"run", m}, {.input = ""}), 2, {"empty"});
  check_refused(run_hearth({"run", m, "--chat"}, {.input = "\n"}), 2, {"empty"});
  check_refused(run_hearth({"run", m, "-p", "ab\xff"}), 2, {"--prompt", "UTF-8", "2"});
  check_refused(run_hearth({"run", m}, {.input = "\xc3("}), 2, {"standard input", "UTF-8"});
  check_refused(run_hearth({"run", m, "--file", "/nonexistent/prompt"}), 1, {"/nonexistent/prompt", "No such file"});
  check_refused(run_hearth({"run", m, "--chat", "--system", "\xff", "-p", "x"}), 2, {"--system", "UTF-8"});
}

TEST_CASE("the context") {
  const std::string& m = demo_model();
  check_refused(run_hearth({"run", m, "-p", "x", "--ctx", "999999"}), 1, {"999999"});
  std::string words;
  for (int i = 0; i < 200; ++i) words += " seven";
  check_refused(run_hearth({"run", m, "-p", words, "--ctx", "32"}), 1, {"32"});
  check_refused(run_hearth({"logits", m, "--tokens", "1,2,99999999", "--output", shared_folder() / "l"}), 2,
                {"99999999"});
  check_refused(run_hearth({"logits", m, "--tokens", "1,two", "--output", shared_folder() / "l"}), 2, {"--tokens"});
  check_refused(run_hearth({"logits", m, "--tokens", "1", "--output", "/nonexistent/l"}), 1, {"/nonexistent/l"});
  CHECK(!fs::exists(shared_folder() / "l"));
}

TEST_CASE("model files that are missing, foreign, truncated or corrupt") {
  TempDir dir;
  check_refused(run_hearth({"run", "/nonexistent.gguf", "-p", "x"}), 1, {"/nonexistent.gguf", "No such file"});
  check_refused(run_hearth({"run", dir.path().string(), "-p", "x"}), 1, {dir.path().string()});
  spill(dir / "empty.gguf", "");
  check_refused(run_hearth({"run", dir / "empty.gguf", "-p", "x"}), 1, {"empty.gguf"});
  spill(dir / "text.gguf", "This is a letter and not a model, whatever its name says.");
  check_refused(run_hearth({"inspect", dir / "text.gguf"}), 1, {"text.gguf", "GGUF"});

  const std::string whole = slurp(demo_model());
  for (const size_t length : {size_t(3), size_t(20), whole.size() / 1000, whole.size() / 2, whole.size() - 1}) {
    spill(dir / "cut.gguf", whole.substr(0, length));
    for (const char* command : {"run", "inspect", "verify"}) {
      std::vector<std::string> arguments{command, dir / "cut.gguf"};
      if (std::string(command) == "run") arguments.insert(arguments.end(), {"-p", "x"});
      check_refused(run_hearth(arguments), 1, {"cut.gguf"});
    }
  }

  std::string flipped = whole;
  flipped[flipped.size() - 1000] ^= 0x10;  // in the data of the last tensor
  spill(dir / "flipped.gguf", flipped);
  const auto verified = run_hearth({"verify", dir / "flipped.gguf"});
  CHECK(verified.exit_code == 1);
  CHECK(contains(verified.err + verified.out, ".weight"));

  std::string renamed = whole;
  const size_t at = renamed.find("deepseek2", renamed.find("general.architecture"));
  REQUIRE(at != std::string::npos);
  renamed.replace(at, 9, "shallowsk");
  spill(dir / "other.gguf", renamed);
  check_refused(run_hearth({"run", dir / "other.gguf", "-p", "x"}), 1, {"shallowsk", "deepseek2"});
}

TEST_CASE("a checkpoint where a model was meant names the command that converts it") {
  for (const char* command : {"chat", "run", "inspect", "plan", "verify"}) {
    CAPTURE(command);
    check_refused(run_hearth({command, demo_checkpoint()}, {.input = "x"}), 1, {demo_checkpoint(), "hearth convert"});
    check_refused(run_hearth({command, demo_checkpoint() + "/model.safetensors"}, {.input = "x"}), 1,
                  {"safetensors", "hearth convert"});
  }
}

TEST_CASE("pieces of a model file say how they are joined") {
  TempDir dir;
  const std::string whole = slurp(demo_model());
  spill(dir / "x.gguf.part1of2", whole.substr(0, whole.size() / 2));
  spill(dir / "x.gguf.part2of2", whole.substr(whole.size() / 2));
  for (const char* piece : {"x.gguf.part1of2", "x.gguf.part2of2"})
    check_refused(
        run_hearth({"run", dir / piece, "-p", "x"}), 1,
        {piece, "cat " + (dir / "x.gguf.part1of2") + " " + (dir / "x.gguf.part2of2") + " > " + (dir / "x.gguf")});
}

TEST_CASE("conversions that cannot be leave nothing behind") {
  TempDir dir;
  const std::string out = dir / "out.gguf";
  const auto nothing_left = [&] { CHECK(fs::is_empty(dir.path())); };

  check_refused(run_hearth({"convert", "/nonexistent", out}), 1, {"/nonexistent"});
  nothing_left();
  check_refused(run_hearth({"convert", demo_checkpoint(), out, "--recipe", "q1_magic"}), 2, {"q1_magic", "q4_k_m"});
  nothing_left();
  check_refused(run_hearth({"convert", demo_checkpoint(), out, "--target-size", "100K"}), 2,
                {"expected a size of at least", "the least possible, found 102400"});
  check_refused(run_hearth({"convert", demo_checkpoint(), out, "--target-size", "8M", "--recipe", "q8_0"}), 2,
                {"--recipe", "--target-size"});
  nothing_left();
  for (const char* rule : {"ffn_down", "ffn_(down=q6_k", "ffn_down=q7_k", "no_such_tensor=q6_k"}) {
    check_refused(run_hearth({"convert", demo_checkpoint(), out, "--tensor", rule}), 2, {rule});
    nothing_left();
  }
  check_refused(run_hearth({"convert", demo_checkpoint(), "/nonexistent/out.gguf"}), 1, {"/nonexistent/out.gguf"});

  const auto full = run_hearth({"convert", demo_checkpoint(), out, "--recipe", "bf16"}, {.file_size_limit = 1 << 20});
  CHECK(full.exit_code == 1);
  CHECK(contains(full.err, "out.gguf"));
  nothing_left();

  const auto stopped =
      run_hearth({"convert", demo_checkpoint(), out, "--recipe", "q2_k", "-t", "1"},
                 {.interrupt_when = [](const std::string&, const std::string& err) { return !err.empty(); }});
  INFO(stopped.err);
  CHECK(stopped.exit_code == 130);
  if (!fs::is_empty(dir.path())) CHECK(contains(stopped.err, "out.gguf.partial"));  // something was finished already
  CHECK(run_hearth({"convert", demo_checkpoint(), out, "--recipe", "q2_k", "-t", "1"}).exit_code == 0);
  fs::remove(out);
  nothing_left();

  spill(out, "precious");
  check_refused(run_hearth({"convert", demo_checkpoint(), out}), 2, {"out.gguf", "exists"});
  CHECK(slurp(out) == "precious");
  CHECK(run_hearth({"convert", demo_checkpoint(), out, "--force", "--recipe", "q8_0"}).exit_code == 0);
  CHECK(run_hearth({"verify", out}).exit_code == 0);
}

TEST_CASE("every output goes where it was sent, and nothing that is no file is replaced") {
  TempDir dir;
  const std::string trace = dir / "trace";
  REQUIRE(run_hearth({"run", demo_model(), "-p", "hi", "-n", "2", "--record-experts", trace}).exit_code == 0);
  const std::vector<std::string> simulate = {"plan", "--simulate",      trace, "--vram",           "0", "--ram",
                                             "1G",   "--ram-bandwidth", "9",   "--disk-bandwidth", "1", "--plot"};
  const std::vector<std::vector<std::string>> commands = {
      {"logits", demo_model(), "--tokens", "1,2", "-o"},
      {"run", demo_model(), "-p", "hi", "-n", "2", "--temp", "0", "--record-experts"},
      simulate};
  for (std::vector<std::string> command : commands) {
    CAPTURE(command.front());
    command.push_back("");
    const auto to = [&](const std::string& path) {
      command.back() = path;
      return run_hearth(command);
    };
    REQUIRE(to(dir / "plain").exit_code == 0);
    const std::string expected = slurp(dir / "plain");

    fs::create_symlink("target", dir / "link");
    CHECK(to(dir / "link").exit_code == 0);
    CHECK(fs::is_symlink(dir / "link"));
    CHECK(slurp(dir / "target") == expected);
    fs::remove(dir / "link");

    REQUIRE(mkfifo((dir / "fifo").c_str(), 0600) == 0);
    std::string got;
    std::thread reader([&] { got = slurp(dir / "fifo"); });
    CHECK(to(dir / "fifo").exit_code == 0);
    reader.join();
    CHECK(got == expected);
    CHECK(fs::is_fifo(dir / "fifo"));
    fs::remove(dir / "fifo");

    CHECK(to("/dev/null").exit_code == 0);
    CHECK(fs::is_character_file("/dev/null"));
    if (fs::exists("/dev/full")) {
      const auto full = to("/dev/full");
      CHECK(full.exit_code == 1);
      CHECK(contains(full.err, "/dev/full: cannot write: No space left"));
    }
    fs::create_directory(dir / "folder");
    const auto folder = to(dir / "folder");
    CHECK(folder.exit_code == 1);
    CHECK(contains(folder.err, "is a folder"));
    fs::remove(dir / "folder");
    CHECK(to(dir / "none/x").exit_code == 1);
    if (command.front() == "run")
      check_refused(to("-"), 2, {"--record-experts", "standard output"});
    else
      CHECK(to("-").out == expected);
    CHECK(!fs::exists("-"));
    fs::remove(dir / "target");
    fs::remove(dir / "plain");
    CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);  // the recording
  }
}

TEST_CASE("closed descriptors: no file takes their place, and what needs them says so") {
  const auto with_closed = [](const std::string& which, const std::string& command) {
    return run_process({"sh", "-c", hearth_program() + " " + command + " " + which});
  };
  TempDir dir;
  fs::copy_file(demo_model(), dir / "m.gguf");
  const std::string before = slurp(dir / "m.gguf"), m = dir / "m.gguf";
  const auto no_output = with_closed(">&-", "run " + m + " -p x -n 2");
  CHECK(no_output.exit_code == 1);
  CHECK(contains(no_output.err, "standard output"));
  CHECK(with_closed(">&-", "inspect " + m).exit_code == 1);
  CHECK(with_closed(">&-", "--help").exit_code == 1);
  const auto no_input = with_closed("<&-", "run " + m + " -n 2");
  CHECK(no_input.exit_code != 0);
  CHECK(contains(no_input.err, "hearth: "));
  CHECK(with_closed("<&-", "run " + m + " -p x -n 2").exit_code == 0);
  CHECK(with_closed("2>&-", "run " + m + " -p x -n 2").exit_code == 0);
  CHECK(with_closed("<&- >&- 2>&-", "run " + m + " -p x -n 2").exit_code == 1);
  CHECK(slurp(m) == before);
}

TEST_CASE("an output that cannot be written") {
  const auto full = run_hearth({"run", demo_model(), "-p", "Hello", "-n", "4"}, {.stdout_path = "/dev/full"});
  CHECK(full.exit_code == 1);
  CHECK(contains(full.err, "No space left"));
}

TEST_CASE("hearth schema: accepted, stopped, or refused with the part that cannot be honoured") {
  const std::string path = shared_folder() / "schema.json";
  spill(path, R"({"properties": {"n": {"type": "integer"}}, "additionalProperties": false})");
  const auto schema = [&](const std::string& text, const std::string& draft = "auto") {
    return run_hearth({"schema", path, "--draft", draft}, {.input = text});
  };
  const ProcessResult taken = schema("{\"n\": 1}\n");
  CHECK(taken.exit_code == 0);
  CHECK(taken.out == "accepted\n");
  check_refused(schema("{\n\"n\": true}"), 1, {"stopped at line 2, column 6 (byte 7), in front of t"});
  check_refused(schema("{\"n\": 1"), 1, {"stopped at line 1, column 8", "the end"});
  check_refused(schema("{}", "5"), 2, {"--draft", "hearth schema --help"});
  spill(path, R"({"properties": {"n": {"uniqueItems": true}}})");
  check_refused(schema("{}"), 2, {path, "refused at /properties/n/uniqueItems", "not supported"});
  spill(path, R"({"properties": )");
  check_refused(schema("{}"), 2, {path, "no JSON"});
  check_refused(run_hearth({"schema", path + ".missing"}), 1, {path + ".missing"});
}
