#include <array>
#include <limits>

#include "quant/gguf.h"

namespace hearth {

namespace {

constexpr std::array kTypeNames = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                   "bool", "string", "array", "u64", "i64", "f64"};

// Metadata comes from strangers' files and is printed on terminals: control characters are shown as \xNN.
std::string quoted(std::string_view text, size_t max_bytes) {
  std::string out = "\"";
  for (const char c : text.substr(0, max_bytes)) {
    if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  out += '"';
  if (text.size() > max_bytes) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

constexpr size_t kMaxTextBytes = 60;

std::string item_text(uint64_t v, GgufType) {
  return fmt::format("{}", v);
}
std::string item_text(int64_t v, GgufType) {
  return fmt::format("{}", v);
}
std::string item_text(bool v, GgufType) {
  return v ? "true" : "false";
}
std::string item_text(const std::string& v, GgufType) {
  return quoted(v, kMaxTextBytes);
}
std::string item_text(double v, GgufType type) {
  return type == GgufType::f32 ? fmt::format("{}", float(v)) : fmt::format("{}", v);  // shortest exact digits
}

template <class T>
std::string value_text(const T& value, GgufType type, size_t) {
  return item_text(value, type);
}

template <class T>
std::string value_text(const std::vector<T>& values, GgufType type, size_t max_items) {
  std::string out = "[";
  for (size_t i = 0; i < values.size() && i < max_items; ++i) {
    if (i) out += ", ";
    out += item_text(T(values[i]), type);
  }
  if (values.size() > max_items) out += fmt::format(", ... {} items", values.size());
  return out + "]";
}

template <class T>
GgufValue array_of(GgufType type, std::vector<T> values) {
  return {type, true, std::move(values)};
}

}  // namespace

GgufValue GgufValue::of_u16(uint16_t v) {
  return {GgufType::u16, false, uint64_t(v)};
}
GgufValue GgufValue::of_u32(uint32_t v) {
  return {GgufType::u32, false, uint64_t(v)};
}
GgufValue GgufValue::of_u64(uint64_t v) {
  return {GgufType::u64, false, v};
}
GgufValue GgufValue::of_i32(int32_t v) {
  return {GgufType::i32, false, int64_t(v)};
}
GgufValue GgufValue::of_f32(float v) {
  return {GgufType::f32, false, double(v)};
}
GgufValue GgufValue::of_bool(bool v) {
  return {GgufType::boolean, false, v};
}
GgufValue GgufValue::of_string(std::string v) {
  return {GgufType::string, false, std::move(v)};
}
GgufValue GgufValue::of_strings(std::vector<std::string> v) {
  return array_of(GgufType::string, std::move(v));
}
GgufValue GgufValue::of_u64s(std::vector<uint64_t> v) {
  return array_of(GgufType::u64, std::move(v));
}
GgufValue GgufValue::of_i32s(const std::vector<int32_t>& v) {
  return array_of(GgufType::i32, std::vector<int64_t>(v.begin(), v.end()));
}
GgufValue GgufValue::of_f32s(const std::vector<float>& v) {
  return array_of(GgufType::f32, std::vector<double>(v.begin(), v.end()));
}

size_t GgufValue::count() const {
  return std::visit(
      [this](const auto& value) -> size_t {
        if constexpr (requires { value.size(); }) {
          return is_array ? value.size() : 1;
        } else {
          return 1;
        }
      },
      data);
}

std::string GgufValue::type_text() const {
  return fmt::format("{}{}", is_array ? "array of " : "", kTypeNames[size_t(type)]);
}

std::string GgufValue::text(size_t max_items) const {
  return std::visit([&](const auto& value) { return value_text(value, type, max_items); }, data);
}

void GgufMetadata::refuse(std::string_view key, const char* expected, const GgufValue& found) const {
  fail(ErrorKind::format, "{}: key {}: expected {}, found {} {}", source, key, expected, found.type_text(),
       found.text());
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto it = index_.find(key);
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

std::optional<uint64_t> GgufMetadata::unsigned_integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* u = std::get_if<uint64_t>(&value->data)) return *u;
  if (const auto* i = std::get_if<int64_t>(&value->data); i && *i >= 0) return uint64_t(*i);
  refuse(key, "an unsigned integer", *value);
}

std::optional<double> GgufMetadata::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* d = std::get_if<double>(&value->data)) return *d;
  if (const auto* u = std::get_if<uint64_t>(&value->data)) return double(*u);
  if (const auto* i = std::get_if<int64_t>(&value->data)) return double(*i);
  refuse(key, "a number", *value);
}

std::optional<bool> GgufMetadata::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* b = std::get_if<bool>(&value->data)) return *b;
  refuse(key, "a bool", *value);
}

std::optional<std::string> GgufMetadata::string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* s = std::get_if<std::string>(&value->data)) return *s;
  refuse(key, "a string", *value);
}

const std::vector<std::string>* GgufMetadata::strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return nullptr;
  if (const auto* s = std::get_if<std::vector<std::string>>(&value->data)) return s;
  refuse(key, "an array of strings", *value);
}

const std::vector<uint64_t>* GgufMetadata::u64s(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return nullptr;
  if (const auto* u = std::get_if<std::vector<uint64_t>>(&value->data); u && value->type == GgufType::u64) return u;
  refuse(key, "an array of u64", *value);
}

std::optional<std::vector<int64_t>> GgufMetadata::integers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* i = std::get_if<std::vector<int64_t>>(&value->data)) return *i;
  if (const auto* u = std::get_if<std::vector<uint64_t>>(&value->data)) {
    for (const uint64_t v : *u) {
      if (v > uint64_t(std::numeric_limits<int64_t>::max())) refuse(key, "integers below 2^63", *value);
    }
    return std::vector<int64_t>(u->begin(), u->end());
  }
  refuse(key, "an array of integers", *value);
}

void GgufMetadata::set(std::string key, GgufValue value) {
  const auto [it, is_new] = index_.try_emplace(key, entries_.size());
  if (is_new) {
    entries_.emplace_back(std::move(key), std::move(value));
  } else {
    entries_[it->second].second = std::move(value);
  }
}

void GgufMetadata::erase(std::string_view key) {
  const auto it = index_.find(key);
  if (it == index_.end()) return;
  const size_t gone = it->second;
  entries_.erase(entries_.begin() + ptrdiff_t(gone));
  index_.erase(it);
  for (auto& [other, at] : index_) {
    if (at > gone) --at;
  }
}

}  // namespace hearth
