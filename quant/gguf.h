// GGUF version 3, little-endian: the container of metadata and tensors.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "quant/error.h"
#include "quant/mapped_file.h"
#include "quant/tensor.h"

namespace hearth {

// The numbers in the file.
enum class GgufType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

// One metadata value. Integers of every width are kept as 64 bits beside the type they have on disk; arrays are flat.
struct GgufValue {
  GgufType type = GgufType::u32;  // of the value, or of the array's elements
  bool is_array = false;
  std::variant<uint64_t, int64_t, double, bool, std::string,  //
               std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>, std::vector<bool>,
               std::vector<std::string>>
      data;

  static GgufValue of_u32(uint32_t v);
  static GgufValue of_u64(uint64_t v);
  static GgufValue of_f32(float v);
  static GgufValue of_bool(bool v);
  static GgufValue of_string(std::string v);
  static GgufValue of_strings(std::vector<std::string> v);
  static GgufValue of_i32s(const std::vector<int32_t>& v);
  static GgufValue of_f32s(const std::vector<float>& v);
  std::string text(size_t max_items = 8) const;  // for people: long arrays and strings are shortened
};

// Metadata in file order with lookup by key. Every getter that finds a value of another type throws Error(format)
// naming the file, the key, the expected and the found type.
class GgufMetadata {
 public:
  std::string source;  // the path, for messages

  const GgufValue* find(std::string_view key) const;  // null: absent
  std::optional<uint64_t> unsigned_integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;  // f32, f64 or any integer
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  const std::vector<std::string>* strings(std::string_view key) const;       // null: absent
  std::optional<std::vector<int64_t>> integers(std::string_view key) const;  // an array of any integer type
  std::optional<std::vector<double>> numbers(std::string_view key) const;

  void set(std::string key, GgufValue value);  // appends, or replaces in place
  void erase(std::string_view key);
  const std::vector<std::pair<std::string, GgufValue>>& entries() const { return entries_; }

 private:
  std::vector<std::pair<std::string, GgufValue>> entries_;
  std::map<std::string, size_t, std::less<>> index_;
};

// A mapped GGUF file, or all parts of a split one (PREFIX-00001-of-00003.gguf; opened by any part).
// Trusts nothing: magic, version, every count, string, type, offset and size is checked against the file before use.
class GgufFile {
 public:
  // Throws Error(file) or Error(format). A tensor of a foreign format is refused by name here.
  static GgufFile open(const std::string& path);

  const std::string& path() const { return parts_.front()->path(); }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }         // file order
  const Tensor* find_tensor(std::string_view name) const;                 // null: absent
  const Tensor& tensor(std::string_view name) const;                      // throws Error(model): absent
  const Tensor& tensor(std::string_view name, const Shape& shape) const;  // also checks the shape
  uint64_t file_bytes() const;                                            // of all parts
  const std::vector<std::unique_ptr<MappedFile>>& parts() const { return parts_; }

 private:
  std::vector<std::unique_ptr<MappedFile>> parts_;
  GgufMetadata metadata_;
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

// What a tensor of the file to be written will be; its bytes come later, in pieces.
struct GgufTensorPlan {
  std::string name;
  const Format* format;
  Shape shape;
  size_t bytes() const { return format->bytes(shape.cols()) * size_t(shape.rows()); }
};

// Writes to `path + ".partial"`, and renames to `path` only after everything arrived, was synced and is complete. A
// destroyed unfinished writer removes the partial file; nothing that looks whole is ever left behind.
class GgufWriter {
 public:
  // The header with all tensor infos is laid out at once, so the final size is known before any data.
  // `reserve_keys`: metadata whose values are known only at the end (checksums): entries given here with a
  // value of final length, replaced by `patch` before `finish`.
  GgufWriter(const std::string& path, const GgufMetadata& metadata, std::vector<GgufTensorPlan> tensors,
             uint32_t alignment = 64);
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  uint64_t file_bytes() const;  // of the finished file, exact
  // Writes bytes of tensor i at an offset inside it. Any order, from several threads; throws Error(file): disk full.
  void write(size_t tensor, size_t offset, std::span<const std::byte> bytes);
  // Replaces the value of a key that was in the metadata; the encoded length must be the same.
  void patch(const std::string& key, const GgufValue& value);
  const std::string& partial_path() const;
  void sync();    // data to disk; the file still has its temporary name, so it can be read back and verified
  void finish();  // checks that every tensor's bytes arrived, syncs, renames, syncs the directory

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Exact size that GgufWriter would give, without writing anything.
uint64_t gguf_file_bytes(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors,
                         uint32_t alignment = 64);

}  // namespace hearth
