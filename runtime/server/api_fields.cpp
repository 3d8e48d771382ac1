#include "runtime/server/api_fields.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/server/api_error.h"

namespace hearth::server {

std::string path_of(const std::string& list, size_t index) {
  return fmt::format("{}[{}]", list, index);
}

int64_t integer_in(const Json& value, const std::string& path, int64_t low, int64_t high) {
  const auto expected = [&]() {
    refuse(path, "expected an integer from {} to {}, found {}", low, high, kind_of(value));
  };
  if (!value.is_number()) expected();
  int64_t number = 0;
  if (value.is_number_float()) {
    const double real = value.get<double>();
    if (real != std::floor(real) || std::abs(real) > 0x1p53) expected();
    number = int64_t(real);
  } else {
    if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX)) expected();
    number = value.get<int64_t>();
  }
  if (number < low || number > high) expected();
  return number;
}

double number_in(const Json& value, const std::string& path, double low, double high) {
  const double number = value.is_number() ? value.get<double>() : NAN;
  if (!(number >= low && number <= high))
    refuse(path, "expected a number from {} to {}, found {}", low, high, kind_of(value));
  return number;
}

Fields::Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (!object.is_object()) refuse(path_, "expected an object, found {}", kind_of(object));
}

std::string Fields::path(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

const Json* Fields::find(std::string_view name) const {
  for (const auto& [key, value] : object_.get_ref<const Json::object_t&>())
    if (key == name) return value.is_null() ? nullptr : &value;
  return nullptr;
}

std::optional<bool> Fields::flag(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) refuse(path(name), "expected true or false, found {}", kind_of(*value));
  return value->get<bool>();
}

std::optional<std::string> Fields::text(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_string()) refuse(path(name), "expected a string, found {}", kind_of(*value));
  return value->get<std::string>();
}

std::string Fields::required_text(std::string_view name) const {
  const auto value = text(name);
  if (!value) refuse(path(name), "expected a string, found none");
  return *value;
}

std::optional<int64_t> Fields::integer(std::string_view name, int64_t low, int64_t high) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  return integer_in(*value, path(name), low, high);
}

std::optional<double> Fields::number(std::string_view name, double low, double high) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  return number_in(*value, path(name), low, high);
}

std::optional<Fields> Fields::object(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  return Fields(*value, path(name));
}

const Json* Fields::list(std::string_view name) const {
  const Json* value = find(name);
  if (value && !value->is_array()) refuse(path(name), "expected a list, found {}", kind_of(*value));
  return value;
}

std::string Fields::word(std::string_view name, const std::vector<std::string>& words,
                         const std::string& otherwise) const {
  const std::string found = text(name).value_or(otherwise);
  if (std::ranges::find(words, found) == words.end())
    refuse(path(name), "expected {}, found \"{}\"", fmt::join(words, ", "), found.substr(0, 100));
  return found;
}

}  // namespace hearth::server
