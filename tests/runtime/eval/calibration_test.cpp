// Bandwidths measured once and kept, with the emulated GPU: its figures mean nothing, but they are there.
#include "runtime/eval/calibration.h"

#include <doctest/doctest.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "kernels/cuda/backend.h"
#include "runtime/eval/bandwidth.h"
#include "tests/emulation/settings.h"
#include "tests/quant/gguf_bytes.h"
#include "tests/support/paths.h"

using namespace hearth;
using namespace hearth::test;

namespace {

// A measurement, and what it had to measure.
struct Run {
  Machine machine;
  std::vector<std::string> measured;
};

Run measure(CalibrationInput input) {
  Run run;
  input.progress = [&](std::string_view what) { run.measured.emplace_back(what); };
  run.machine = measured_bandwidths(input).machine;
  return run;
}

CalibrationInput input(const std::string& folder, Device* gpu = nullptr) {
  return {.machine = {.n_threads = 2, .cpu = "a processor", .gpu = gpu ? "a GPU" : "", .folder = folder},
          .gpu_device = gpu,
          .bytes = size_t(8) << 20,
          .seconds = 0.01};
}

const std::vector<std::string> kAll = {"memory", "the GPU's memory", "copies to the GPU"};

}  // namespace

TEST_CASE("bandwidths are measured at the first need, and kept") {
  const TempDir folder;
  const std::string cache = folder / "new/hearth";  // is made
  REQUIRE(open_gpu().device);
  const Run first = measure(input(cache, open_gpu().device));
  CHECK(first.measured == kAll);
  CHECK(first.machine.ram_bandwidth > 0);
  CHECK(first.machine.vram_bandwidth > 0);
  CHECK(first.machine.pcie_bandwidth > 0);
  CHECK(first.machine.disk_bandwidth == 0);  // no file was named
  CHECK(first.machine.vram == 0);
  const Run again = measure(input(cache, open_gpu().device));
  CHECK(again.measured.empty());
  CHECK(again.machine.ram_bandwidth >= first.machine.ram_bandwidth);  // looked at again
  CHECK(again.machine.vram_bandwidth == first.machine.vram_bandwidth);
  CHECK(again.machine.pcie_bandwidth == first.machine.pcie_bandwidth);
  CHECK(std::distance(fs::directory_iterator(cache), {}) == 1);  // nothing half-written stays
}

TEST_CASE("figures of another processor, GPU or number of threads do not count") {
  const TempDir folder;
  measure(input(folder.path()));
  CHECK(measure(input(folder.path())).measured.empty());
  for (const int what : {0, 1}) {
    CalibrationInput other = input(folder.path());
    if (what == 0) other.machine.cpu = "another processor";
    if (what == 1) other.machine.n_threads = 1;
    CHECK(measure(other).measured == std::vector<std::string>{"memory"});
    CHECK(measure(input(folder.path())).measured == std::vector<std::string>{"memory"});  // the file was the other's
  }
  const std::vector<std::string> of_gpu = {"the GPU's memory", "copies to the GPU"};
  CalibrationInput with_gpu = input(folder.path(), open_gpu().device);
  CHECK(measure(with_gpu).measured == of_gpu);
  with_gpu.machine.gpu = "another GPU";
  CHECK(measure(with_gpu).measured == of_gpu);
  CHECK(measure(input(folder.path(), open_gpu().device)).measured.empty());  // both are known now
}

TEST_CASE("a damaged or foreign file is measured anew, and replaced") {
  const TempDir folder;
  const std::string path = folder / "bandwidth.json";
  measure(input(folder.path()));
  const nlohmann::json good = nlohmann::json::parse(read_text(path));
  const auto with = [&](const char* value) {
    nlohmann::json bad = good;
    bad["bytes_per_s"]["ram"] = nlohmann::json::parse(value);
    return bad.dump();
  };
  nlohmann::json old = good, unsigned_by = good;
  old["measured_on"]["version"] = 0;
  unsigned_by.erase("measured_on");
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[1, 2]"), std::string("\xff\xfe{}"), std::string("null"),
        good.dump().substr(0, 30), with("-1"), with("0"), with("1e300"), with("\"fast\""), with("null"), old.dump(),
        unsigned_by.dump(), std::string("{\"bytes_per_s\": 5}"), std::string(2 << 20, ' ')}) {
    CAPTURE(text.substr(0, 200));
    write_text(path, text);
    const Run run = measure(input(folder.path()));
    CHECK(run.measured == std::vector<std::string>{"memory"});
    CHECK(run.machine.ram_bandwidth > 0);
    CHECK(measure(input(folder.path())).measured.empty());
  }
}

TEST_CASE("where nothing can be kept, it is measured every time") {
  const TempDir folder;
  write_text(folder / "file", "");
  for (const std::string& nowhere :
       {std::string(), folder / "file", folder / "file/below", std::string("/proc/hearth")}) {
    CAPTURE(nowhere);
    CHECK(measure(input(nowhere)).machine.ram_bandwidth > 0);
    CHECK(measure(input(nowhere)).measured == std::vector<std::string>{"memory"});
  }
}

TEST_CASE("the fastest that was ever seen counts, with its age") {
  const TempDir folder;
  const std::string path = folder / "bandwidth.json";
  const double measured = measure(input(folder.path())).machine.ram_bandwidth;
  const auto set = [&](double figure, int64_t at) {
    nlohmann::json file = nlohmann::json::parse(read_text(path));
    file["bytes_per_s"]["ram"] = figure;
    file["measured_at"]["ram"] = at;
    write_text(path, file.dump());
  };
  const auto now = int64_t(std::time(nullptr));
  set(1, now - 5000);  // the machine was very busy then
  MeasuredBandwidths found = measured_bandwidths(input(folder.path()));
  CHECK(found.machine.ram_bandwidth > 1000);
  set(1e14, now - 5000);  // another time it was idle
  found = measured_bandwidths(input(folder.path()));
  CHECK(found.machine.ram_bandwidth == 1e14);
  CHECK(found.since == now - 5000);
  CalibrationInput again = input(folder.path());
  again.again = true;
  const Run anew = measure(again);
  CHECK(anew.measured == std::vector<std::string>{"memory"});
  CHECK(anew.machine.ram_bandwidth < 1e14);
  CHECK(anew.machine.ram_bandwidth > measured / 1000);
}

TEST_CASE("what running models saw raises what is kept, each model's own speed for itself alone") {
  const TempDir folder;
  CalibrationInput in = input(folder.path());
  const auto ram = [&](uint64_t key) {
    in.model_key = key;
    return measured_bandwidths(in).machine.ram_bandwidth;
  };
  ram(0);
  keep_seen(in.machine, 7, {.memory = 1e13, .decoding = 5e13});
  CHECK(ram(0) == 1e13);
  CHECK(ram(7) == 5e13);
  CHECK(ram(8) == 1e13);
  keep_seen(in.machine, 7, {.memory = 1e12, .decoding = 1e12});  // slower: nothing new
  CHECK(ram(7) == 5e13);
  CalibrationInput other = in;
  other.machine.n_threads = 1;
  keep_seen(other.machine, 7, {.memory = 1e14, .decoding = 1e14});  // and those of other conditions stay
  CHECK(ram(7) == 5e13);
  const TempDir empty;
  keep_seen(input(empty.path()).machine, 7, {.memory = 1e13, .decoding = 5e13});  // before anything was measured
  CHECK(measure(input(empty.path())).measured == std::vector<std::string>{"memory"});
}

TEST_CASE("a GPU whose memory is taken has no figures, and is asked again") {
  const TempDir folder;
  const emulation::Settings before = emulation::settings();
  emulation::settings().memory = size_t(1) << 20;
  const Run full = measure(input(folder.path(), open_gpu().device));
  CHECK(full.machine.ram_bandwidth > 0);
  CHECK(full.machine.vram_bandwidth == 0);
  CHECK(full.machine.pcie_bandwidth == 0);
  emulation::settings() = before;
  CHECK(measure(input(folder.path(), open_gpu().device)).measured ==
        std::vector<std::string>{"the GPU's memory", "copies to the GPU"});
}

TEST_CASE("a disk is measured only where there is something on it") {
  const TempDir folder;
  const std::string path = folder / "model.gguf";
  write_text(path, "header");
  fs::resize_file(path, uint64_t(1) << 34);  // a hole
  CHECK(disk_bandwidth(path) == 0);
  CHECK(disk_bandwidth(folder / "nothing") == 0);
  CHECK(disk_bandwidth("/dev/null") == 0);
  write_text(path, std::string(size_t(20) << 20, 'x'));
  const double figure = disk_bandwidth(path, 0.05);
  if (figure == 0) MESSAGE("SKIP: this file system cannot be read past its cache");
  CalibrationInput in = input(folder / "cache");
  in.model = path;
  const Run run = measure(in);
  CHECK(run.measured == std::vector<std::string>{"memory", "the disk"});
  CHECK((run.machine.disk_bandwidth > 0) == (figure > 0));
  CHECK(measure(in).measured.empty() == (figure > 0));
}
