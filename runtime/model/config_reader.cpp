#include "runtime/model/config_reader.h"

#include <utility>

#include "quant/gguf_keys.h"

namespace hearth {

ConfigReader::ConfigReader(const GgufFile& file) : file_(file) {
  for (const auto& [key, value] : file.metadata().entries()) ours_ = ours_ || key.starts_with(key::kHearthPrefix);
}

int64_t ConfigReader::checked(const char* key, uint64_t value, int64_t low, int64_t high) const {
  require(value >= uint64_t(low) && value <= uint64_t(high), ErrorKind::model, "{}: {}: expected {} to {}, found {}",
          source(), key, low, high, value);
  return int64_t(value);
}

int64_t ConfigReader::integer(const char* key, int64_t low, int64_t high) const {
  const auto value = metadata().unsigned_integer(key);
  require(value.has_value(), ErrorKind::model, "{}: {}: expected an integer, the key is missing", source(), key);
  return checked(key, *value, low, high);
}

int64_t ConfigReader::integer_or(int64_t absent, const char* key, int64_t low, int64_t high) const {
  return has(key) ? integer(key, low, high) : absent;
}

int64_t ConfigReader::integer_or_derived(int64_t derived, const char* key, int64_t low, int64_t high) {
  return derived > 0 ? count_or_derived(derived, key, low, high) : integer(key, low, high);
}

int64_t ConfigReader::count_or_derived(int64_t derived, const char* key, int64_t low, int64_t high) {
  if (has(key) || derived == 0) return integer_or(0, key, low, high);
  derived_.push_back({key, std::to_string(derived), ""});
  return checked(key, uint64_t(derived), low, high);
}

float ConfigReader::number(const char* key, double low, double high) const {
  const auto value = metadata().number(key);
  require(value.has_value(), ErrorKind::model, "{}: {}: expected a number, the key is missing", source(), key);
  require(*value >= low && *value <= high, ErrorKind::model, "{}: {}: expected {} to {}, found {}", source(), key, low,
          high, *value);  // written so that NaN fails
  return float(*value);
}

float ConfigReader::number_or(float absent, const char* key, double low, double high) const {
  return has(key) ? number(key, low, high) : absent;
}

float ConfigReader::number_or_guess(float guess, const char* whose, const char* key, double low, double high) {
  if (has(key)) return number(key, low, high);
  note_guess(key, fmt::format("{}", guess), whose);
  return guess;
}

void ConfigReader::note_guess(const char* key, const std::string& value, const std::string& whose) {
  guessed_.push_back({key, value, whose});
}

std::vector<std::string> ConfigReader::notes() const {
  std::vector<std::string> lines;
  if (derived_.empty()) {
    for (const Guess& g : guessed_)
      lines.push_back(fmt::format("{} is missing: assumed {} ({})", g.key, g.value, g.whose));
    return lines;
  }
  const size_t n = derived_.size() + guessed_.size();
  std::string line = fmt::format("{} key{} missing; by the tensors' shapes: ", n, n == 1 ? " is" : "s are");
  const char* between = "";
  for (const Guess& d : derived_) line += fmt::format("{}{} = {}", std::exchange(between, ", "), d.key, d.value);
  between = "; assumed: ";
  for (const Guess& g : guessed_) {
    line += fmt::format("{}{} = {} ({})", std::exchange(between, ", "), g.key, g.value, g.whose);
  }
  return {line};
}

const Tensor* ConfigReader::in_layers(const char* role, int64_t n_layers) const {
  for (int64_t i = 0; i < n_layers; ++i) {
    if (const Tensor* found = file_.find_tensor(name::in_layer(int(i), role))) return found;
  }
  return nullptr;
}

int64_t ConfigReader::rows(const char* role, int64_t n_layers) const {
  const Tensor* found = in_layers(role, n_layers);
  return found ? found->shape.rows() : 0;
}

int64_t ConfigReader::cols(const char* role, int64_t n_layers) const {
  const Tensor* found = in_layers(role, n_layers);
  return found ? found->shape.cols() : 0;
}

}  // namespace hearth
