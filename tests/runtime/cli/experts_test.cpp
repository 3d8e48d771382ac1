// Experts from outside: recorded while the demo model speaks, simulated on other machines, drawn.
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli/hearth.h"

using namespace hearth::test;

namespace {

// A recording of the demo model's answer.
const std::string& trace() {
  static const std::string path = [] {
    const std::string output = shared_folder() / "demo.trace";
    const auto made = run_hearth({"run", demo_model(), "-p", "The sun is a", "-n", "60", "--temp", "1.5", "--seed", "4",
                                  "--device", "cpu", "--record-experts", output});
    REQUIRE_MESSAGE(made.exit_code == 0, made.err);
    return output;
  }();
  return path;
}

// A whole machine, so that nothing is measured.
std::vector<std::string> simulate(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"plan",
                                     "--simulate",
                                     trace(),
                                     "--token-by-token",
                                     "--vram",
                                     "12M",
                                     "--ram",
                                     "1G",
                                     "--vram-bandwidth",
                                     "500",
                                     "--ram-bandwidth",
                                     "40",
                                     "--pcie-bandwidth",
                                     "20",
                                     "--disk-bandwidth",
                                     "3"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("plan --simulate tells hit rates and speed by size and policy, in words, as JSON and as a picture") {
  TempDir dir;
  const auto table = run_hearth(simulate({"--plot", dir / "plot.svg"}));
  REQUIRE_MESSAGE(table.exit_code == 0, table.err);
  for (const char* word : {"hearth-demo", "static", "LRU", "LFU", "adaptive", "optimum", "100.0 %", "the GPU's memory"})
    CHECK_MESSAGE(contains(table.out, word), word);
  CHECK(contains(text_of(dir / "plot.svg"), "<svg"));
  CHECK(contains(text_of(dir / "plot.svg"), "hearth-demo"));

  const auto json = run_hearth(simulate({"--json"}));
  REQUIRE_MESSAGE(json.exit_code == 0, json.err);
  const auto object = nlohmann::json::parse(json.out);
  CHECK(object["model"] == "hearth-demo");
  CHECK(object["decoded"] > 2);
  const auto& sizes = object["sizes"];
  REQUIRE(sizes.size() >= 12);
  CHECK(sizes.front()["policies"]["adaptive"]["hit_rate"] == 0);
  CHECK(sizes.back()["policies"]["adaptive"]["hit_rate"] == 1);
  CHECK(sizes.back()["policies"]["LRU"]["tok_s"] > sizes.front()["policies"]["LRU"]["tok_s"]);
}

// Ended in the middle of its answer (with this seed one of 1405 tokens), by a signal or because nobody reads it any
// more.
TEST_CASE("a recording that is ended from outside keeps what it has") {
  TempDir dir;
  const std::string program = hearth_program() + " run " + demo_model() +
                              " -p 'The sun is' --temp 50 --top-p 1 --seed 0 --isa scalar -t 1 --record-experts " +
                              (dir / "trace");
  const auto killed_by = [&](const char* signal) {
    return "cd " + dir.path().string() + "; " + program + " >out & pid=$!; while kill -0 $pid && [ ! -s out ]; do " +
           "sleep 0.02; done; kill -" + signal + " $pid; wait $pid";
  };
  const std::vector<std::pair<std::string, int>> ends = {
      {killed_by("TERM"), 128 + SIGTERM},
      {killed_by("HUP"), 128 + SIGHUP},
      {killed_by("INT"), 128 + SIGINT},
      {"set -o pipefail; " + program + " | head -c 3", 128 + SIGPIPE}};
  for (const auto& [script, status] : ends) {
    CAPTURE(script);
    const auto ended = run_process({"bash", "-c", script});
    INFO(ended.err);
    CHECK(ended.exit_code == status);
    REQUIRE(fs::exists(dir / "trace"));
    fs::remove(dir / "out");
    CHECK(std::distance(fs::directory_iterator(dir.path()), {}) == 1);
    CHECK(run_hearth({"plan", "--simulate", dir / "trace", "--token-by-token", "--vram", "0", "--ram-bandwidth", "1"})
              .exit_code == 0);
    fs::remove(dir / "trace");
  }
}

TEST_CASE("inspect --experts says who is used, and draws it") {
  TempDir dir;
  const std::string stats = dir / "stats", svg = dir / "map.svg";
  std::ofstream(stats) << R"({"version":1,"model":"0123456789abcdef","layers":2,"experts":3,"tokens":100.0,)"
                       << R"("counts":[[50,25,25],[0,40,60]]})";
  const auto words = run_hearth({"inspect", "--experts", stats, "--svg", svg});
  REQUIRE_MESSAGE(words.exit_code == 0, words.err);
  for (const char* word : {"2 MoE layers of 3 experts", "busiest 30 %", "1/2 (60.00 %)", "1 of 6 experts"})
    CHECK_MESSAGE(contains(words.out, word), word);
  const auto picture = run_hearth({"inspect", "--experts", stats, "--svg", "-"});
  CHECK(picture.out == text_of(svg));
  CHECK(contains(picture.out, "layer 1, expert 2: 60.00 % of tokens"));
}

TEST_CASE("what cannot be recorded, simulated or drawn is refused in a line") {
  TempDir dir;
  std::ofstream(dir / "bad") << "bad";
  check_refused(run_hearth({"run", demo_model(), "-p", "x", "--record-experts", dir / "no/trace"}), 1,
                {"no/trace", "cannot create"});
  check_refused(run_hearth({"plan", "--simulate", dir / "bad", "--vram", "0", "--ram-bandwidth", "1"}), 1,
                {"bad", "not a recording"});
  check_refused(run_hearth({"plan"}), 2, {"which model?"});
  check_refused(run_hearth({"plan", demo_model(), "--plot", dir / "x.svg"}), 2, {"--plot", "--simulate"});
  check_refused(run_hearth({"plan", demo_model(), "--simulate", trace()}), 2, {"--simulate"});
  check_refused(run_hearth(simulate({"--plot", dir / "no/plot.svg"})), 1, {"no/plot.svg"});
  check_refused(run_hearth(simulate({"--stats", dir / "bad"})), 1, {"bad", "statistics"});
  std::ofstream(dir / "other") << R"({"version":1,"model":"0123456789abcdef","layers":1,"experts":1,"tokens":1,)"
                               << R"("counts":[[1]]})";
  check_refused(run_hearth(simulate({"--stats", dir / "other"})), 2, {"other", "3 layers of 8", "1 of 1"});
  check_refused(run_hearth({"inspect"}), 2, {"which file?"});
  check_refused(run_hearth({"inspect", "--experts", dir / "bad"}), 1, {"bad", "statistics"});
  check_refused(run_hearth({"inspect", demo_model(), "--svg", "-"}), 2, {"--svg", "--experts"});
}
