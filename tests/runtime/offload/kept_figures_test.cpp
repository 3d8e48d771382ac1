// What is kept of a machine and of models from one session to the next; what is measured: tests/runtime/eval/.
#include "runtime/offload/kept_figures.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>

#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

MeasuredOn machine(const std::string& folder) {
  return {.n_threads = 2, .cpu = "a processor", .gpu = "a GPU", .folder = folder};
}

bool none(const PrefillRates& rates) {
  return rates.host_bandwidth == 0 && rates.host_pairs == 0 && rates.copy_bandwidth == 0;
}

}  // namespace

TEST_CASE("rates of prompts are kept with other figures, for each model") {
  const TempDir folder;
  const MeasuredOn here = machine(folder.path());
  CHECK(none(kept_rates(here, 1)));
  keep(here, {{"ram", {1e10, 1234}}});
  keep_rates(here, 1, {5e9, 1000, 2e9});
  keep_rates(here, 2, {6e9, 0, 0});
  keep_rates(here, 1, {7e9, 0, 2e99});  // what is not known takes nothing away, nor what cannot be
  const KeptFigures kept = read_kept(here);
  REQUIRE(kept.contains("ram"));  // the others are still there
  CHECK(kept.at("ram").value == 1e10);
  CHECK(kept.at("ram").at == 1234);
  const PrefillRates one = kept_rates(here, 1), two = kept_rates(here, 2);
  CHECK((one.host_bandwidth == 7e9 && one.host_pairs == 1000 && one.copy_bandwidth == 2e9));
  CHECK((two.host_bandwidth == 6e9 && two.host_pairs == 0 && two.copy_bandwidth == 0));
}

TEST_CASE("figures of other conditions, and of a damaged file, count for nothing") {
  const TempDir folder;
  const MeasuredOn here = machine(folder.path());
  keep_rates(here, 1, {5e9, 1000, 2e9});
  MeasuredOn other = here;
  other.gpu = "another GPU";
  CHECK(none(kept_rates(other, 1)));
  for (const int what : {0, 1}) {
    other = here;
    if (what == 0) other.cpu = "another processor";
    if (what == 1) other.n_threads = 3;
    CHECK(read_kept(other).empty());
  }
  CHECK(!none(kept_rates(here, 1)));
  std::ofstream(folder / "bandwidth.json") << "{";
  CHECK(none(kept_rates(here, 1)));
  CHECK(read_kept(here).empty());
}

TEST_CASE("a model's speed raises what was measured, but is no measurement itself") {
  const TempDir folder;
  const MeasuredOn here = machine(folder.path());
  keep_seen(here, 7, {.memory = 1e13, .decoding = 5e13});
  CHECK(!read_kept(here).contains("ram"));
  CHECK(read_kept(here).at(decode_figure(7, "")).value == 5e13);
  keep(here, {{"ram", {1e10, 1}}, {"vram a GPU", {1e11, 1}}});
  keep_seen(here, 7, {.memory = 1e13, .decoding = 5e13, .on_gpu = true});
  CHECK(read_kept(here).at("ram").value == 1e10);
  CHECK(read_kept(here).at("vram a GPU").value == 1e13);
  keep_seen(here, 7, {.memory = 1e12, .decoding = 2e99, .on_gpu = true});  // slower, and what cannot be
  CHECK(read_kept(here).at("vram a GPU").value == 1e13);
  CHECK(read_kept(here).at(decode_figure(7, "a GPU")).value == 5e13);
}

TEST_CASE("where nothing can be kept, nothing is missed") {
  const TempDir folder;
  std::ofstream(folder / "file") << "";
  for (const std::string& nowhere : {std::string(), folder / "file", folder / "file/below"}) {
    CAPTURE(nowhere);
    keep_rates(machine(nowhere), 1, {5e9, 1000, 2e9});
    CHECK(none(kept_rates(machine(nowhere), 1)));
  }
}

TEST_CASE("the folder for it") {
  const auto folder = [](const char* cache, const char* home) {
    cache ? setenv("XDG_CACHE_HOME", cache, 1) : unsetenv("XDG_CACHE_HOME");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    return cache_folder();
  };
  CHECK(folder("/a/b", "/home/x") == "/a/b/hearth");
  CHECK(folder("relative", "/home/x") == "/home/x/.cache/hearth");  // to be ignored, says the specification
  CHECK(folder("", "/home/x") == "/home/x/.cache/hearth");
  CHECK(folder(nullptr, "/home/x") == "/home/x/.cache/hearth");
  CHECK(folder(nullptr, nullptr) == "");
}
