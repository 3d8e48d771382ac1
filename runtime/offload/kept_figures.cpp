#include "runtime/offload/kept_figures.h"

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>

#include "quant/checksum.h"
#include "quant/error.h"
#include "quant/partial_file.h"

namespace hearth {
namespace {

using nlohmann::json;

constexpr int kBandwidthVersion = 3;  // of the file: another one is measured anew

std::string file_of(const MeasuredOn& machine) {
  return machine.folder.empty() ? "" : machine.folder + "/bandwidth.json";
}

json measured_on(const MeasuredOn& machine) {
  return {{"version", kBandwidthVersion}, {"cpu", machine.cpu}, {"threads", machine.n_threads}};
}

bool somebody_elses(const MeasuredOn& machine) {
  std::error_code error;
  return std::filesystem::exists(file_of(machine), error) && read_kept(machine).empty();
}

struct RateNames {
  std::string host, pairs, copy;
  RateNames(const MeasuredOn& machine, uint64_t model_key) {
    const std::string model = "prefill " + checksum_text(model_key) + " " + machine.gpu;
    host = model + " host", pairs = model + " pairs", copy = model + " copy";
  }
};

}  // namespace

KeptFigures read_kept(const MeasuredOn& machine) {
  constexpr std::uintmax_t kLargest = 1 << 20;
  const std::string path = file_of(machine);
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (path.empty() || error || size > kLargest) return {};
  std::ifstream in(path, std::ios::binary);
  const json file = json::parse(in, nullptr, false);
  if (!file.is_object() || !file.contains("bytes_per_s") || !file["bytes_per_s"].is_object()) return {};
  if (file.value("measured_on", json()) != measured_on(machine)) return {};
  const json times = file.value("measured_at", json());
  KeptFigures figures;
  for (const auto& [name, value] : file["bytes_per_s"].items()) {
    if (!value.is_number()) return {};
    const double figure = value.get<double>();
    if (!(figure > 0 && figure < kFastest)) return {};
    const bool dated = times.is_object() && times.contains(name) && times[name].is_number_integer();
    figures[name] = {figure, dated ? times[name].get<int64_t>() : 0};
  }
  return figures;
}

void keep(const MeasuredOn& machine, const KeptFigures& figures) {
  const std::string path = file_of(machine);
  if (path.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(machine.folder, error);
  json values = json::object(), times = json::object();
  for (const auto& [name, figure] : figures) values[name] = figure.value, times[name] = figure.at;
  const json file = {{"measured_on", measured_on(machine)}, {"bytes_per_s", values}, {"measured_at", times}};
  const std::string text = file.dump(2, ' ', false, json::error_handler_t::replace) + '\n';
  PartialFile out = PartialFile::begin(path);
  // Not synced: this is measured again if it is lost, and nobody waits for the disk.
  if (out.is_open() && out.write(std::as_bytes(std::span(text))) && out.close()) out.rename();
}

std::string decode_figure(uint64_t model_key, const std::string& gpu) {
  return "decode " + checksum_text(model_key) + (gpu.empty() ? "" : " " + gpu);
}

void keep_seen(const MeasuredOn& machine, uint64_t model_key, const SeenBandwidths& seen) {
  if (somebody_elses(machine)) return;
  KeptFigures figures = read_kept(machine);
  bool raised = false;
  const auto raise = [&](const std::string& name, double value) {
    const auto it = figures.find(name);
    if (!(value > (it == figures.end() ? 0 : it->second.value) && value < kFastest)) return;
    figures[name] = {value, int64_t(std::time(nullptr))};
    raised = true;
  };
  const std::string memory = seen.on_gpu ? "vram " + machine.gpu : "ram";
  if (figures.contains(memory)) raise(memory, seen.memory);  // what was never measured, plan measures itself
  raise(decode_figure(model_key, seen.on_gpu ? machine.gpu : ""), seen.decoding);
  if (raised) keep(machine, figures);
}

PrefillRates kept_rates(const MeasuredOn& machine, uint64_t model_key) {
  const KeptFigures kept = read_kept(machine);
  const RateNames names(machine, model_key);
  const auto figure = [&](const std::string& name) {
    const auto it = kept.find(name);
    return it == kept.end() ? 0.0 : it->second.value;
  };
  return {figure(names.host), figure(names.pairs), figure(names.copy)};
}

void keep_rates(const MeasuredOn& machine, uint64_t model_key, const PrefillRates& rates) {
  const RateNames names(machine, model_key);
  KeptFigures figures = read_kept(machine);
  const auto set = [&](const std::string& name, double rate) {
    if (rate > 0 && rate < kFastest) figures[name] = {rate, int64_t(std::time(nullptr))};
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
