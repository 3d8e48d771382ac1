// One object of a request, read field by field. Whatever is not as expected is refused by the field's name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/server/api_json.h"

namespace hearth::server {

// null stands for a field that is not there, as clients write it. Every function throws ApiError(400) naming the path,
// what was expected and what was found.
class Fields {
 public:
  // path: of the object in the body, "messages[2]"; empty: the body itself. The object must outlive this.
  explicit Fields(const Json& object, std::string path = {});

  const Json& json() const { return object_; }
  std::string path(std::string_view name) const;  // "messages[2].content"
  const Json* find(std::string_view name) const;  // null: not there
  bool has(std::string_view name) const { return find(name) != nullptr; }

  std::optional<bool> flag(std::string_view name) const;
  std::optional<std::string> text(std::string_view name) const;
  std::string required_text(std::string_view name) const;
  // 16.0 is an integer too.
  std::optional<int64_t> integer(std::string_view name, int64_t low, int64_t high) const;
  std::optional<double> number(std::string_view name, double low, double high) const;
  std::optional<Fields> object(std::string_view name) const;
  const Json* list(std::string_view name) const;  // null: not there
  // One of several words.
  std::string word(std::string_view name, const std::vector<std::string>& words, const std::string& otherwise) const;

 private:
  const Json& object_;
  std::string path_;
};

std::string path_of(const std::string& list, size_t index);  // "messages[2]"
int64_t integer_in(const Json& value, const std::string& path, int64_t low, int64_t high);
double number_in(const Json& value, const std::string& path, double low, double high);

}  // namespace hearth::server
