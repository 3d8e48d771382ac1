// JSON files of a checkpoint: read whole, up to a limit, and accessed by getters whose errors name the file, the key,
// what was expected and what was found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "quant/error.h"

namespace hearth {

using Json = nlohmann::json;

inline constexpr uint64_t kMaxConfigBytes = 16'000'000;  // limit for the files that hold settings

// Throws Error(format) if the text is not JSON or not an object at the top. NaN and Infinity, which Python writes,
// become strings of that name, so they matter only to a reader of that very value.
Json parse_json_object(std::string_view text, const std::string& path);
// Throws Error(file) if the file cannot be mapped (missing, empty), Error(format) if it is larger than `max_bytes`.
Json read_json_object(const std::string& path, uint64_t max_bytes);

// For messages: text of a file on one line, shortened, without control characters.
std::string one_line(std::string_view text);
std::string json_text(const Json& value);

// An object inside a file. A key that holds null counts as absent: checkpoints write both.
class JsonFields {
 public:
  // `place` is the path to the object, for messages, with a final dot: "rope_scaling."; empty at the top. Keeps a
  // reference to `object`.
  JsonFields(const Json& object, std::string path, std::string place = "");

  const std::string& path() const { return path_; }
  const Json* find(const char* key) const;  // null: absent
  bool has(const char* key) const { return find(key) != nullptr; }
  bool is_null(const char* key) const;  // the key is there, and null
  const Json& object() const { return *object_; }

  // Getters throw Error(model) where the value has another type or lies outside [low, high].
  int64_t integer(const char* key, int64_t low, int64_t high) const;  // must be there
  int64_t integer_or(const char* key, int64_t fallback, int64_t low, int64_t high) const;
  double number(const char* key) const;  // must be there; finite
  double number_or(const char* key, double fallback) const;
  bool boolean_or(const char* key, bool fallback) const;
  std::optional<std::string> string(const char* key) const;
  std::optional<JsonFields> object(const char* key) const;

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::model, "{}: {}", path_, one_line(fmt::format(format, std::forward<Args>(args)...)));
  }

 private:
  [[noreturn]] void refuse_value(const char* key, const char* expected, const Json* found) const;

  const Json* object_;
  std::string path_, place_;
};

}  // namespace hearth
