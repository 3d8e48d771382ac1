#include "runtime/server/api_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "runtime/server/api_error.h"
#include "runtime/tokenizer/utf8.h"

namespace hearth::server {

namespace {

constexpr size_t kDepth = 128;    // of lists and objects in one another: schemas of tools need some thirty
constexpr size_t kFields = 1000;  // of the body itself: they are looked up one by one

// "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without what is the library's.
std::string without_tag(std::string_view text) {
  constexpr size_t kLongest = 300;
  const size_t end = text.starts_with('[') ? text.find("] ") : std::string_view::npos;
  if (end != std::string_view::npos) text.remove_prefix(end + 2);
  return repair_utf8(text.substr(0, kLongest));
}

// Builds the value while it is read. Not the library's own parser, which takes the last of several members with one
// name, recurses where nobody bounds it, and compares each name with all before.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Json result;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no JSON text holds any

  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    std::set<std::string>& names = open_.back().names;
    if (!names.insert(name).second) refuse("", "the body has the name \"{}\" twice in one object", name.substr(0, 100));
    if (open_.size() == 1 && names.size() > kFields) refuse("", "the body has more than {} fields", kFields);
    name_ = std::move(name);
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    refuse("", "the body is not JSON: {}", without_tag(error.what()));
  }

 private:
  struct Open {
    Json* value;
    std::set<std::string> names;
  };

  Json* put(Json value) {
    if (open_.empty()) return &(result = std::move(value));
    Json& parent = *open_.back().value;
    if (parent.is_array()) return &parent.get_ref<Json::array_t&>().emplace_back(std::move(value));
    std::vector<std::pair<const std::string, Json>>& members = parent.get_ref<Json::object_t&>();
    return &members.emplace_back(std::move(name_), std::move(value)).second;
  }
  bool add(Json value) {
    put(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (open_.size() == kDepth) refuse("", "the body is nested deeper than {} levels", kDepth);
    open_.push_back({put(std::move(value)), {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<Open> open_;  // whose last element is being read; their addresses stay, as only the innermost one grows
  std::string name_;
};

}  // namespace

Json parse_body(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos)
    refuse("", "the body is empty: expected a JSON object");
  Builder builder;
  Json::sax_parse(body.begin(), body.end(), &builder);
  if (!builder.result.is_object()) refuse("", "the body is {}: expected an object", kind_of(builder.result));
  return std::move(builder.result);
}

std::string to_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string event(const Json& data) {
  return "data: " + to_text(data) + "\n\n";
}

std::string event(std::string_view name, const Json& data) {
  return "event: " + std::string(name) + "\n" + event(data);
}

std::string kind_of(const Json& json) {
  if (json.is_string()) return "a string";
  if (json.is_number()) return "the number " + to_text(json);
  if (json.is_boolean()) return to_text(json);
  if (json.is_array()) return "a list";
  if (json.is_object()) return "an object";
  return "null";
}

}  // namespace hearth::server
