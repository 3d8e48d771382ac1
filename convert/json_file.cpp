#include "convert/json_file.h"

#include <cmath>

#include "quant/mapped_file.h"

namespace hearth {

namespace {

constexpr size_t kMaxJsonText = 80;
constexpr size_t kMaxLine = 400;

// Puts quotes around Python's words for numbers that JSON does not have, outside of strings.
std::string quote_python_numbers(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (size_t at = 0; at < text.size();) {
    size_t length = 1;
    if (in_string) {
      if (text[at] == '\\' && at + 1 < text.size()) length = 2;
      in_string = text[at] != '"';
    } else {
      in_string = text[at] == '"';
      for (const std::string_view word : {"NaN", "-Infinity", "Infinity"}) {
        if (text.substr(at).starts_with(word)) length = word.size();
      }
    }
    const std::string_view piece = text.substr(at, length);
    if (length > 2) {
      out.append("\"").append(piece).append("\"");
    } else {
      out += piece;
    }
    at += length;
  }
  return out;
}

// The text is copied only if it has such words: a tokenizer.json has tens of megabytes.
Json parse_json(std::string_view text) {
  if (text.find("NaN") == std::string_view::npos && text.find("Infinity") == std::string_view::npos) {
    return Json::parse(text.begin(), text.end());
  }
  return Json::parse(quote_python_numbers(text));
}

}  // namespace

Json parse_json_object(std::string_view text, const std::string& path) {
  try {
    Json json = parse_json(text);
    require(json.is_object(), ErrorKind::format, "{}: expected a JSON object, found {}", path, json.type_name());
    return json;
  } catch (const Json::exception& error) {
    fail(ErrorKind::format, "{}: not valid JSON: {}", path, one_line(error.what()));
  }
}

Json read_json_object(const std::string& path, uint64_t max_bytes) {
  const MappedFile file(path);
  require(file.size() <= max_bytes, ErrorKind::format, "{}: expected at most {} bytes of JSON, found {}", path,
          max_bytes, file.size());
  return parse_json_object({reinterpret_cast<const char*>(file.bytes().data()), file.size()}, path);
}

std::string one_line(std::string_view text) {
  std::string out(text.substr(0, kMaxLine));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

std::string json_text(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kMaxJsonText) text.replace(kMaxJsonText, std::string::npos, "...");
  return text;
}

JsonFields::JsonFields(const Json& object, std::string path, std::string place)
    : object_(&object), path_(std::move(path)), place_(std::move(place)) {}

const Json* JsonFields::find(const char* key) const {
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

bool JsonFields::is_null(const char* key) const {
  const auto it = object_->find(key);
  return it != object_->end() && it->is_null();
}

void JsonFields::refuse_value(const char* key, const char* expected, const Json* found) const {
  refuse("{}{}: expected {}, found {}", place_, key, expected, found ? json_text(*found) : "nothing");
}

int64_t JsonFields::integer(const char* key, int64_t low, int64_t high) const {
  const Json* value = find(key);
  // 4096.0 is a whole number too. From 2^53 on a double cannot represent every integer.
  int64_t found = 0;
  bool whole = false;
  if (value && value->is_number_unsigned()) {
    whole = value->get<uint64_t>() <= uint64_t(INT64_MAX);
    if (whole) found = value->get<int64_t>();
  } else if (value && value->is_number_integer()) {
    found = value->get<int64_t>();
    whole = true;
  } else if (value && value->is_number_float()) {
    const double d = value->get<double>();
    whole = std::abs(d) < 0x1p53 && d == std::floor(d);
    if (whole) found = int64_t(d);
  }
  if (!whole || found < low || found > high) {
    refuse_value(key, fmt::format("a whole number of {} to {}", low, high).c_str(), value);
  }
  return found;
}

int64_t JsonFields::integer_or(const char* key, int64_t fallback, int64_t low, int64_t high) const {
  return has(key) ? integer(key, low, high) : fallback;
}

double JsonFields::number(const char* key) const {
  const Json* value = find(key);
  if (!value || !value->is_number() || !std::isfinite(value->get<double>())) refuse_value(key, "a number", value);
  return value->get<double>();
}

double JsonFields::number_or(const char* key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool JsonFields::boolean_or(const char* key, bool fallback) const {
  const Json* value = find(key);
  if (!value) return fallback;
  if (!value->is_boolean()) refuse_value(key, "true or false", value);
  return value->get<bool>();
}

std::optional<std::string> JsonFields::string(const char* key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) refuse_value(key, "a string", value);
  return value->get<std::string>();
}

std::optional<JsonFields> JsonFields::object(const char* key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_object()) refuse_value(key, "an object", value);
  return JsonFields(*value, path_, place_ + key + ".");
}

}  // namespace hearth
