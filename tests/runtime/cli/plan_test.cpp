// hearth plan: models of true size of which there is nothing but the header, on machines that are not here.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/runtime/cli/hearth.h"
#include "tests/runtime/offload/shape_file.h"

using namespace hearth;
using namespace hearth::test;
using nlohmann::json;

namespace {

constexpr uint64_t kGiB = uint64_t(1) << 30;

const std::string& v2_file() {
  static const std::string path = [] {
    const std::string file = shared_folder() / "v2.gguf";
    ShapeFile(TrueShape::v2(), "q4_k_m").write(file);
    return file;
  }();
  return path;
}

const std::string& lite_file() {
  static const std::string path = [] {
    const std::string file = shared_folder() / "lite.gguf";
    ShapeFile(TrueShape::lite(), "q4_k_m").write(file);
    return file;
  }();
  return path;
}

// With all speeds given, so that nothing is measured.
std::vector<std::string> plan(const std::string& file, std::vector<std::string> more) {
  std::vector<std::string> all = {
      "plan", file, "--vram-bandwidth", "500", "--ram-bandwidth", "50", "--pcie-bandwidth", "20", "--disk-bandwidth",
      "2"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

json planned(const std::string& file, std::vector<std::string> more) {
  more.push_back("--json");
  const auto result = run_hearth(plan(file, more));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  CHECK(result.err == "");
  return json::parse(result.out);
}

uint64_t sum(const json& classes) {
  uint64_t bytes = 0;
  for (const auto& [_, value] : classes.items()) bytes += value.get<uint64_t>();
  return bytes;
}

double help(const json& plan, const std::string& change) {
  for (const auto& h : plan["would_help"])
    if (h["change"].get<std::string>().find(change) != std::string::npos) return h["decode_tok_s"];
  return 0;
}

}  // namespace

TEST_CASE("plan: as data, the tiers add up and keep to their budgets") {
  const json p = planned(v2_file(), {"--vram", "16G", "--ram", "64G", "--ctx", "8192"});
  for (const char* tier : {"vram", "ram", "disk"}) {
    CAPTURE(tier);
    CHECK(sum(p[tier]["classes"]) == p[tier]["used"]);
    CHECK(p[tier]["used"] <= p[tier]["budget"]);
  }
  CHECK(p["vram"]["budget"] == 16 * kGiB);
  CHECK(p["ram"]["budget"] == 64 * kGiB);
  CHECK(p["vram"]["classes"]["kv_cache"] == uint64_t(60) * 8192 * 576 * 2);
  CHECK(p["vram"]["classes"].contains("attention"));
  CHECK(p["disk"]["classes"].size() == 1);
  int64_t resident = 0;
  for (const json& layer : p["layers"]) {
    resident += layer["vram"].get<int64_t>();
    CHECK(layer["vram"].get<int64_t>() + layer["ram"].get<int64_t>() + layer["disk"].get<int64_t>() == 160);
  }
  CHECK(p["layers"].size() == 59);
  CHECK(p["experts_resident"] == resident);
  CHECK(p["experts"] == 59 * 160);
  CHECK(resident > 0);
  CHECK(p["decode_tok_s"] > 0.5);
  CHECK(p["decode_tok_s"] < 5.0);
  CHECK(p["bandwidth"]["disk"] == json{{"gb_s", 2.0}, {"source", "given"}});
}

TEST_CASE("plan: what would help is what a plan of that machine says") {
  const json p = planned(v2_file(), {"--vram", "16G", "--ram", "64G", "--ctx", "8192"});
  CHECK(help(p, "8 GiB more VRAM") ==
        planned(v2_file(), {"--vram", "24G", "--ram", "64G", "--ctx", "8192"})["decode_tok_s"]);
  CHECK(help(p, "64 GiB more RAM") ==
        planned(v2_file(), {"--vram", "16G", "--ram", "128G", "--ctx", "8192"})["decode_tok_s"]);
  const std::string smaller = shared_folder() / "smaller.gguf";
  ShapeFile(TrueShape::v2(), "iq4_xs").write(smaller);
  CHECK(help(p, "recipe iq4_xs") ==
        planned(smaller, {"--vram", "16G", "--ram", "64G", "--ctx", "8192"})["decode_tok_s"]);
  double last = 1e9;
  for (const json& h : p["would_help"]) {  // the most helpful first
    CHECK(h["decode_tok_s"] <= last);
    last = h["decode_tok_s"];
  }
  const json alone = planned(v2_file(), {"--vram", "0", "--ram", "256G", "--ctx", "8192"});
  CHECK(help(alone, "a GPU with 12 GiB free") > alone["decode_tok_s"]);
}

TEST_CASE("plan: for people, layers with the same numbers in one line") {
  const auto result = run_hearth(plan(v2_file(), {"--vram", "500G", "--ram", "9000G", "--ctx", "8192"}));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  INFO(result.out);
  CHECK(contains(result.out, "  machine          VRAM 500 GiB (given; this machine has "));
  CHECK(contains(result.out, "), RAM 8.79 TiB (given; this machine has "));
  CHECK(contains(result.out, "  layers 1 to 59            160            0            0\n"));
  CHECK(contains(result.out, "  of uses               100.0 %        0.0 %        0.0 %\n"));
  CHECK(contains(result.out, "  kv_cache              540 MiB            -            -\n"));
  CHECK(contains(result.out, "  decode           at most "));
  CHECK(!contains(result.out, "more VRAM"));
}

TEST_CASE("plan: bandwidths that are not given are measured, kept, or assumed, and it says which") {
  const TempDir cache;
  const ProcessOptions options{.environment = {{"XDG_CACHE_HOME", cache.path().string()}}};
  const std::vector<std::string> arguments = {"plan", lite_file(), "--vram", "8G", "--ram", "16G", "--json"};
  const auto first = run_hearth(arguments, options), again = run_hearth(arguments, options);
  REQUIRE_MESSAGE(first.exit_code == 0, first.err);
  const json p = json::parse(first.out);
  CHECK(p["bandwidth"]["ram"]["source"] == "measured");
  CHECK(p["bandwidth"]["ram"]["gb_s"] > 0.1);
  CHECK(p["bandwidth"]["disk"]["source"] == "assumed");  // the file is a hole
  CHECK(fs::exists(cache.path() / "hearth/bandwidth.json"));
  // Every plan looks at memory again, and the fastest that was seen counts.
  json q = json::parse(again.out);
  CHECK(q["bandwidth"]["ram"]["gb_s"].get<double>() >= p["bandwidth"]["ram"]["gb_s"].get<double>());
  CHECK(q["vram"] == p["vram"]);
}

TEST_CASE("plan: on this machine, and of a whole model") {
  const auto result = run_hearth(plan(demo_model(), {"--json"}));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  const json p = json::parse(result.out);
  CHECK(p["vram"]["used"].get<uint64_t>() + p["ram"]["used"].get<uint64_t>() > 9'000'000);
  CHECK(p["disk"]["used"] == 0);
}

TEST_CASE("plan: so many resident experts as are asked for") {
  CHECK(planned(lite_file(), {"--vram", "16G", "--resident-experts", "100"})["experts_resident"] == 100);
  CHECK(planned(lite_file(), {"--vram", "16G", "--resident-experts", "0.5"})["experts_resident"] == 832);
  check_refused(run_hearth(plan(lite_file(), {"--vram", "16G", "--resident-experts", "2.5"})), 2,
                {"--resident-experts: expected 0 to 1664 experts, or a share from 0.0 to 1.0, found \"2.5\""});
  check_refused(run_hearth(plan(lite_file(), {"--vram", "4G", "--resident-experts", "1664"})), 1,
                {"resident experts: ", "of 1664 fit into the "});
}

TEST_CASE("plan: what is too small is refused with the least, and what fills it") {
  check_refused(run_hearth(plan(v2_file(), {"--vram", "9.5G", "--ram", "64G", "--ctx", "32768"})), 1,
                {"the GPU's memory: 9.50 GiB are too little, the least is ", "kv_cache 2.11 GiB", "attention ",
                 "; a context of ", " tokens would fit"});
  check_refused(run_hearth(plan(v2_file(), {"--vram", "4G", "--ram", "64G"})), 1,
                {"more would be needed even for a context of 256 tokens"});
  check_refused(run_hearth(plan(v2_file(), {"--vram", "0", "--ram", "100M"})), 1, {"the host's memory: 100 MiB"});
  check_refused(run_hearth(plan(v2_file(), {"--vram", "96G", "--ctx", "200000"})), 1,
                {"a context of 200000 tokens is too long: the model's limit is 163840"});
}

TEST_CASE("plan: a wrong command line, or a file that is no model") {
  for (const char* bad : {"16GX", "much", "-1G", "1e9"}) {
    CAPTURE(bad);
    check_refused(run_hearth(plan(v2_file(), {std::string("--vram=") + bad})), 2,
                  {"--vram: expected a size such as 16G, 1.5GB or 800MiB (G, GB and GiB: 2^30 bytes), found \"", bad});
    check_refused(run_hearth(plan(v2_file(), {std::string("--ram=") + bad})), 2, {"--ram: expected a size"});
  }
  check_refused(run_hearth(plan(v2_file(), {"--ram", "0"})), 2, {"--ram: a model needs some memory"});
  check_refused(run_hearth({"plan"}), 2, {"plan: which model? (see: hearth plan --help)\n"});
  check_refused(run_hearth({"plan", v2_file(), "--disk-bandwidth", "0"}), 2, {"--disk-bandwidth"});
  check_refused(run_hearth({"plan", v2_file(), "--cache-type", "q8_0"}), 2, {"--cache-type"});
  check_refused(run_hearth(plan(shared_folder() / "none.gguf", {})), 1, {"none.gguf", "cannot open"});
  const std::string text = shared_folder() / "text.gguf";
  write_text(text, "not a model at all, but long enough to be looked at");
  check_refused(run_hearth(plan(text, {})), 1, {"text.gguf"});
}
