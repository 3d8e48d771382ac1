#include "runtime/offload/expert_stats.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "quant/checksum.h"
#include "quant/error.h"
#include "runtime/support/text_file.h"

namespace hearth {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kStatsVersion = 1;
constexpr int64_t kMostLayers = 1024, kMostExperts = 65536;
constexpr size_t kMostStatsBytes = size_t(64) << 20;
constexpr double kMostTokens = 1e15;

const ordered_json& member(const ordered_json& object, const char* name, const std::string& path) {
  require(object.contains(name), ErrorKind::format, "{}: \"{}\" is missing", path, name);
  return object[name];
}

int64_t integer(const ordered_json& object, const char* name, int64_t most, const std::string& path) {
  const ordered_json& value = member(object, name, path);
  const bool ok = value.is_number_unsigned() && value.get<uint64_t>() >= 1 && value.get<uint64_t>() <= uint64_t(most);
  require(ok, ErrorKind::format, "{}: \"{}\": expected 1 to {}, found {}", path, name, most,
          value.dump().substr(0, 40));
  return value.get<int64_t>();
}

double count(const ordered_json& value, const char* name, const std::string& path) {
  const bool ok = value.is_number() && value.get<double>() >= 0 && value.get<double>() <= kMostTokens;
  require(ok, ErrorKind::format, "{}: \"{}\": expected a number of tokens, found {}", path, name,
          value.dump().substr(0, 40));
  return value.get<double>();
}

uint64_t read_key(const ordered_json& value, const std::string& path) {
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  const bool ok = text.size() == 16 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
  require(ok, ErrorKind::format, "{}: \"model\": expected 16 hexadecimal digits, found {}", path,
          value.dump(-1, ' ', true, ordered_json::error_handler_t::replace).substr(0, 40));
  return std::stoull(text, nullptr, 16);
}

void read_counts(const ordered_json& rows, const std::string& path, ExpertStats& stats) {
  require(rows.is_array() && int64_t(rows.size()) == stats.n_layers, ErrorKind::format,
          "{}: \"counts\": expected {} layers, found {}", path, stats.n_layers, rows.is_array() ? rows.size() : 0);
  for (const ordered_json& row : rows) {
    require(row.is_array() && int64_t(row.size()) == stats.n_experts, ErrorKind::format,
            "{}: \"counts\": expected {} experts in each layer, found {}", path, stats.n_experts,
            row.is_array() ? row.size() : 0);
    for (const ordered_json& value : row) stats.counts.push_back(float(count(value, "counts", path)));
  }
}

void require_same(const ExpertStats& found, const ExpertStats& expected, const std::string& path) {
  require(found.model_key == expected.model_key, ErrorKind::format, "{}: is of another model: expected {}, found {}",
          path, checksum_text(expected.model_key), checksum_text(found.model_key));
  require(found.n_layers == expected.n_layers && found.n_experts == expected.n_experts, ErrorKind::format,
          "{}: expected {} layers of {} experts, found {} of {}", path, expected.n_layers, expected.n_experts,
          found.n_layers, found.n_experts);
}

}  // namespace

uint64_t model_key(const GgufFile& file) {
  Checksum sum;
  for (const auto& part : file.parts()) {
    const auto bytes = part->bytes();
    const std::byte* data = bytes.data() + bytes.size();
    for (const Tensor& t : file.tensors())
      if (t.data >= bytes.data() && t.data < data) data = t.data;
    sum.add(bytes.first(size_t(data - bytes.data())));
    const uint64_t size = bytes.size();
    sum.add(std::as_bytes(std::span(&size, 1)));
  }
  return sum.value();
}

ExpertStats no_expert_stats(const GgufFile& file, const ModelConfig& config) {
  return {.model_key = model_key(file), .n_layers = config.n_moe_layers(), .n_experts = config.n_routed_experts};
}

std::string expert_stats_path(const std::string& model_path) {
  return model_path + ".experts";
}

ExpertStats read_expert_stats(const std::string& path) {
  const std::string text = read_text_file(path, kMostStatsBytes);
  const ordered_json object = ordered_json::parse(text, nullptr, false);
  require(object.is_object(), ErrorKind::format, "{}: is not a file of expert statistics, or damaged", path);
  const ordered_json& version = member(object, "version", path);
  require(version == kStatsVersion, ErrorKind::format, "{}: \"version\": expected {}, found {}", path, kStatsVersion,
          version.dump(-1, ' ', true, ordered_json::error_handler_t::replace).substr(0, 40));
  ExpertStats stats;
  stats.model_key = read_key(member(object, "model", path), path);
  stats.n_layers = integer(object, "layers", kMostLayers, path);
  stats.n_experts = integer(object, "experts", kMostExperts, path);
  stats.tokens = count(member(object, "tokens", path), "tokens", path);
  read_counts(member(object, "counts", path), path, stats);
  return stats;
}

LoadedExpertStats load_expert_stats(const std::string& path, const ExpertStats& expected) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  try {
    LoadedExpertStats loaded{read_expert_stats(path), ""};
    require_same(*loaded.stats, expected, path);
    return loaded;
  } catch (const std::exception& error) {
    return {std::nullopt, std::string(error.what()) + "; ignored"};
  }
}

std::string save_expert_stats(const std::string& path, const ExpertStats& stats) {
  try {
    ordered_json rows = ordered_json::array();
    for (int64_t layer = 0; layer < stats.n_layers; ++layer) {
      ordered_json row = ordered_json::array();
      for (int64_t e = 0; e < stats.n_experts; ++e)  // a hundredth of a token is as exact as anybody needs
        row.push_back(std::round(100.0 * double(stats.counts[size_t(layer * stats.n_experts + e)])) / 100);
      rows.push_back(std::move(row));
    }
    const ordered_json object = {{"version", kStatsVersion}, {"model", checksum_text(stats.model_key)},
                                 {"layers", stats.n_layers}, {"experts", stats.n_experts},
                                 {"tokens", stats.tokens},   {"counts", std::move(rows)}};
    write_text_file(path, object.dump() + "\n");
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace hearth
