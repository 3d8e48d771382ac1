// GGUF files made by hand, byte by byte, so that the reader is tested against the format and not against our writer.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/gguf.h"
#include "tests/support/text_file.h"

namespace hearth::test {

class GgufBytes {
 public:
  GgufBytes& raw(std::string_view bytes) {
    data_ += bytes;
    return *this;
  }
  template <class T>
  GgufBytes& number(T value) {
    return raw({reinterpret_cast<const char*>(&value), sizeof value});
  }
  GgufBytes& string(std::string_view text) { return number(uint64_t(text.size())).raw(text); }
  GgufBytes& header(uint64_t n_tensors, uint64_t n_keys, uint32_t version = 3) {
    return raw("GGUF").number(version).number(n_tensors).number(n_keys);
  }
  GgufBytes& key(std::string_view name, GgufType type) { return string(name).number(uint32_t(type)); }
  // Dimensions as in the file: the contiguous one first.
  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    string(name).number(uint32_t(dims.size()));
    for (const uint64_t dim : dims) number(dim);
    return number(type).number(offset);
  }
  GgufBytes& pad(size_t alignment) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  GgufBytes& zeros(size_t n) {
    data_.append(n, '\0');
    return *this;
  }
  const std::string& text() const { return data_; }

 private:
  std::string data_;
};

// Parses a copy of exactly these bytes on the heap, where a sanitizer sees every step past their end.
inline GgufContents parse_copy(std::string_view text) {
  const std::vector<char> copy(text.begin(), text.end());
  GgufContents contents = parse_gguf(std::as_bytes(std::span(copy)), "x.gguf");
  for (Tensor& tensor : contents.tensors) tensor.data = nullptr;  // the copy is gone
  return contents;
}

// The message of the Error that reading these bytes gives; empty when there is none.
inline std::string refusal(std::string_view text) {
  try {
    parse_copy(text);
  } catch (const Error& error) {
    return error.kind == ErrorKind::format ? error.what() : std::string("wrong kind of error: ") + error.what();
  }
  return "";
}

// A file in whose header a tensor is of another type; its data stay as long as they were.
inline std::string with_type(std::string text, const std::string& tensor, uint32_t type) {
  const size_t name = text.rfind(GgufBytes().string(tensor).text(), text.size());
  uint32_t rank = 0;
  std::memcpy(&rank, text.data() + name + 8 + tensor.size(), sizeof rank);
  std::memcpy(text.data() + name + 8 + tensor.size() + 4 + 8 * rank, &type, sizeof type);
  return text;
}

// One metadata value of every type, single and as an array.
inline GgufMetadata every_type() {
  GgufMetadata m;
  m.set("general.architecture", GgufValue::of_string("deepseek2"));
  m.set("t.u8", {GgufType::u8, false, uint64_t(255)});
  m.set("t.i8", {GgufType::i8, false, int64_t(-128)});
  m.set("t.u16", GgufValue::of_u16(65535));
  m.set("t.i16", {GgufType::i16, false, int64_t(-32768)});
  m.set("t.u32", GgufValue::of_u32(0xffffffff));
  m.set("t.i32", GgufValue::of_i32(-2147483647 - 1));
  m.set("t.f32", GgufValue::of_f32(0.1f));
  m.set("t.bool", GgufValue::of_bool(true));
  m.set("t.string", GgufValue::of_string(std::string("a\0\n\xff", 4)));
  m.set("t.u64", GgufValue::of_u64(~uint64_t(0)));
  m.set("t.i64", {GgufType::i64, false, INT64_MIN});
  m.set("t.f64", {GgufType::f64, false, 0.1});
  m.set("t.empty", GgufValue::of_string(""));
  m.set("a.u8", {GgufType::u8, true, std::vector<uint64_t>{0, 255}});
  m.set("a.i8", {GgufType::i8, true, std::vector<int64_t>{-128, 127}});
  m.set("a.u16", {GgufType::u16, true, std::vector<uint64_t>{1, 65535}});
  m.set("a.i16", {GgufType::i16, true, std::vector<int64_t>{-32768, 3}});
  m.set("a.u32", {GgufType::u32, true, std::vector<uint64_t>{7}});
  m.set("a.i32", GgufValue::of_i32s({-1, 0, 1}));
  m.set("a.f32", GgufValue::of_f32s({1.5f, -0.1f}));
  m.set("a.bool", {GgufType::boolean, true, std::vector<bool>{true, false, true}});
  m.set("a.string", GgufValue::of_strings({"", "left right", std::string(20, 'x')}));
  m.set("a.u64", GgufValue::of_u64s({~uint64_t(0), 1}));
  m.set("a.i64", {GgufType::i64, true, std::vector<int64_t>{INT64_MIN}});
  m.set("a.f64", {GgufType::f64, true, std::vector<double>{1e300}});
  m.set("a.empty", GgufValue::of_strings({}));
  return m;
}

// A tensor of every format, rank 1 to 4 in turn, named after its format.
inline std::vector<GgufTensorPlan> every_format() {
  std::vector<GgufTensorPlan> plans;
  for (const Format& format : all_formats()) {
    const int64_t cols = format.block_elems;
    const Shape shapes[] = {Shape(2 * cols), Shape(3, cols), Shape(2, 3, cols), Shape(2, 1, 3, cols)};
    plans.push_back({std::string("blk.0.") + format.name, &format, shapes[plans.size() % 4]});
  }
  return plans;
}

// Bytes that differ from tensor to tensor and from place to place.
inline std::vector<std::byte> tensor_bytes(size_t tensor, size_t size) {
  std::vector<std::byte> bytes(size);
  uint32_t state = uint32_t(tensor) * 2654435761u + 1;
  for (std::byte& b : bytes) {
    state = state * 1664525u + 1013904223u;
    b = std::byte(state >> 24);
  }
  return bytes;
}

inline void write_gguf(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& plans,
                       uint32_t alignment = 64) {
  GgufWriter writer(path, metadata, plans, alignment);
  for (size_t i = 0; i < plans.size(); ++i) writer.write(i, 0, tensor_bytes(i, plans[i].bytes()));
  writer.finish();
}

}  // namespace hearth::test
