#include "runtime/eval/calibration.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "quant/checksum.h"
#include "quant/error.h"
#include "runtime/eval/bandwidth.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kBandwidthVersion = 3;  // of the file: another one is measured anew
constexpr double kFastest = 1e15;

// Bytes/s by name: "ram", "vram GPU" and "pcie GPU" for each GPU, "disk 8:1" for each disk by its device number, and
// "prefill KEY GPU host" and "... copy" for each model's key ("... pairs" is pairs/s), "decode KEY" and "decode KEY
// GPU" what a model read.
struct Figure {
  double value = 0;
  int64_t at = 0;  // seconds since 1970
};
using Figures = std::map<std::string, Figure>;

int64_t now_in_seconds() {
  return int64_t(std::time(nullptr));
}

std::string disk_name(const std::string& path) {
  struct stat info;
  if (path.empty() || stat(path.c_str(), &info) != 0) return "";
  return fmt::format("disk {}:{}", major(info.st_dev), minor(info.st_dev));
}

std::string file_of(const CalibrationInput& input) {
  return input.folder.empty() ? "" : input.folder + "/bandwidth.json";
}

json measured_on(const CalibrationInput& input) {
  return {{"version", kBandwidthVersion}, {"cpu", input.cpu}, {"threads", input.n_threads}};
}

// What is kept for this machine; of a file that is not as we write it, nothing.
Figures read_kept(const CalibrationInput& input) {
  constexpr std::uintmax_t kLargest = 1 << 20;
  const std::string path = file_of(input);
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (path.empty() || error || size > kLargest) return {};
  std::ifstream in(path, std::ios::binary);
  const json file = json::parse(in, nullptr, false);
  if (!file.is_object() || !file.contains("bytes_per_s") || !file["bytes_per_s"].is_object()) return {};
  if (file.value("measured_on", json()) != measured_on(input)) return {};
  const json times = file.value("measured_at", json());
  Figures figures;
  for (const auto& [name, value] : file["bytes_per_s"].items()) {
    if (!value.is_number()) return {};
    const double figure = value.get<double>();
    if (!(figure > 0 && figure < kFastest)) return {};
    const bool dated = times.is_object() && times.contains(name) && times[name].is_number_integer();
    figures[name] = {figure, dated ? times[name].get<int64_t>() : 0};
  }
  return figures;
}

bool somebody_elses(const CalibrationInput& input) {
  std::error_code error;
  return fs::exists(file_of(input), error) && read_kept(input).empty();
}

std::string decode_name(uint64_t model_key, const std::string& gpu) {
  return "decode " + checksum_text(model_key) + (gpu.empty() ? "" : " " + gpu);
}

struct RateNames {
  std::string host, pairs, copy;
  RateNames(const CalibrationInput& machine, uint64_t model_key) {
    const std::string model = "prefill " + checksum_text(model_key) + " " + machine.gpu;
    host = model + " host", pairs = model + " pairs", copy = model + " copy";
  }
};

void keep(const CalibrationInput& input, const Figures& figures) {
  const std::string path = file_of(input), partial = path + fmt::format(".{}.partial", getpid());
  if (path.empty()) return;
  std::error_code error;
  fs::create_directories(input.folder, error);
  json values = json::object(), times = json::object();
  for (const auto& [name, figure] : figures) values[name] = figure.value, times[name] = figure.at;
  const json file = {{"measured_on", measured_on(input)}, {"bytes_per_s", values}, {"measured_at", times}};
  std::ofstream out(partial, std::ios::binary);
  out << file.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  out.close();
  if (out) fs::rename(partial, path, error);
  if (!out || error) fs::remove(partial, error);
}

// A GPU whose memory is taken cannot be measured now, which is no reason not to plan.
double measured_or_unknown(const std::function<double()>& measure) {
  try {
    return measure();
  } catch (const Error&) {
    return 0;
  }
}

class Calibration {
 public:
  explicit Calibration(const CalibrationInput& input) : in_(input), kept_(read_kept(input)) {}

  MeasuredBandwidths bandwidths() {
    Machine m;
    constexpr int kTimes = 4, kTimesAgain = 2;
    const bool known = kept_.contains("ram") && !in_.again;
    m.ram_bandwidth = figure("ram", "memory", [&] { return read_bandwidth(kTimes); });
    if (known) m.ram_bandwidth = raise("ram", read_bandwidth(kTimesAgain));
    if (Device* const gpu = in_.gpu_device) {
      const size_t bytes = in_.bytes / 2;
      m.vram_bandwidth = figure("vram " + in_.gpu, "the GPU's memory", [&] {
        return measured_or_unknown([&] { return CopyBandwidth(*gpu, bytes).measure(); });
      });
      m.pcie_bandwidth = figure("pcie " + in_.gpu, "copies to the GPU",
                                [&] { return measured_or_unknown([&] { return upload_bandwidth(*gpu, bytes); }); });
    }
    if (const std::string disk = disk_name(in_.model); !disk.empty()) {
      m.disk_bandwidth = figure(disk, "the disk", [&] { return disk_bandwidth(in_.model); });
    }
    if (changed_) keep(in_, kept_);
    m.ram_bandwidth = std::max(m.ram_bandwidth, seen(decode_name(in_.model_key, "")));
    if (in_.gpu_device) m.vram_bandwidth = std::max(m.vram_bandwidth, seen(decode_name(in_.model_key, in_.gpu)));
    return {m, since_};
  }

 private:
  // The best of some looks counts: others use the machine too.
  double read_bandwidth(int times) const {
    const ReadBandwidth reads(in_.n_threads, ram_bytes());
    double best = 0;
    for (int i = 0; i < times; ++i) best = std::max(best, reads.measure(in_.seconds, ReadBandwidth::Time::processor));
    return best;
  }
  size_t ram_bytes() const {
    constexpr size_t kLeast = size_t(1) << 20;  // for each thread
    return std::max(in_.bytes, size_t(in_.n_threads) * kLeast);
  }

  // One that is not known is not kept, and asked for again the next time.
  double figure(const std::string& name, std::string_view what, const std::function<double()>& measure) {
    if (const auto it = kept_.find(name); it != kept_.end() && !in_.again) {
      since_ = std::min(since_, it->second.at);
      return it->second.value;
    }
    if (in_.progress) in_.progress(what);
    const double value = measure();
    if (value > 0) set(name, value);
    return value;
  }
  double raise(const std::string& name, double value) {
    if (value > kept_[name].value) set(name, value);
    return kept_[name].value;
  }
  void set(const std::string& name, double value) {
    kept_[name] = {value, now_in_seconds()};
    changed_ = true;
  }
  double seen(const std::string& name) const {
    const auto it = kept_.find(name);
    return it == kept_.end() ? 0 : it->second.value;
  }

  const CalibrationInput& in_;
  Figures kept_;
  int64_t since_ = now_in_seconds();
  bool changed_ = false;
};

}  // namespace

MeasuredBandwidths measured_bandwidths(const CalibrationInput& input) {
  return Calibration(input).bandwidths();
}

void keep_seen(const CalibrationInput& machine, uint64_t model_key, const SeenBandwidths& seen) {
  if (somebody_elses(machine)) return;
  Figures figures = read_kept(machine);
  bool raised = false;
  const auto raise = [&](const std::string& name, double value) {
    const auto it = figures.find(name);
    if (!(value > (it == figures.end() ? 0 : it->second.value) && value < kFastest)) return;
    figures[name] = {value, now_in_seconds()};
    raised = true;
  };
  const std::string memory = seen.on_gpu ? "vram " + machine.gpu : "ram";
  if (figures.contains(memory)) raise(memory, seen.memory);  // what was never measured, plan measures itself
  raise(decode_name(model_key, seen.on_gpu ? machine.gpu : ""), seen.decoding);
  if (raised) keep(machine, figures);
}

PrefillRates kept_rates(const CalibrationInput& machine, uint64_t model_key) {
  const Figures kept = read_kept(machine);
  const RateNames names(machine, model_key);
  const auto figure = [&](const std::string& name) {
    const auto it = kept.find(name);
    return it == kept.end() ? 0.0 : it->second.value;
  };
  return {figure(names.host), figure(names.pairs), figure(names.copy)};
}

void keep_rates(const CalibrationInput& machine, uint64_t model_key, const PrefillRates& rates) {
  const RateNames names(machine, model_key);
  Figures figures = read_kept(machine);
  const auto set = [&](const std::string& name, double rate) {
    if (rate > 0 && rate < kFastest) figures[name] = {rate, now_in_seconds()};
  };
  set(names.host, rates.host_bandwidth);
  set(names.pairs, rates.host_pairs);
  set(names.copy, rates.copy_bandwidth);
  keep(machine, figures);
}

std::string cache_folder() {
  const auto absolute = [](const char* value) { return value && value[0] == '/'; };
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); absolute(cache)) return std::string(cache) + "/hearth";
  if (const char* home = std::getenv("HOME"); absolute(home)) return std::string(home) + "/.cache/hearth";
  return "";
}

}  // namespace hearth
