// GGUF version 3, little-endian: the container of metadata and tensors.
//
//   "GGUF"  u32 version  u64 n_tensors  u64 n_keys
//   n_keys    x { string key, u32 type, value }                            string = u64 length, bytes
//   n_tensors x { string name, u32 rank, u64 dims[rank], u32 format, u64 offset }
//   zeros up to a multiple of general.alignment, then the data: `offset` counts from here
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
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

  static GgufValue of_u16(uint16_t v);
  static GgufValue of_u32(uint32_t v);
  static GgufValue of_i32(int32_t v);
  static GgufValue of_u64(uint64_t v);
  static GgufValue of_f32(float v);
  static GgufValue of_bool(bool v);
  static GgufValue of_string(std::string v);
  static GgufValue of_strings(std::vector<std::string> v);
  static GgufValue of_i32s(const std::vector<int32_t>& v);
  static GgufValue of_u64s(std::vector<uint64_t> v);
  static GgufValue of_f32s(const std::vector<float>& v);
  size_t count() const;                          // elements of an array, 1 of a single value
  std::string type_text() const;                 // "u32", "array of string"
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
  const std::vector<uint64_t>* u64s(std::string_view key) const;             // null: absent
  std::optional<std::vector<int64_t>> integers(std::string_view key) const;  // an array of any integer type

  void set(std::string key, GgufValue value);  // appends, or replaces in place
  void erase(std::string_view key);
  const std::vector<std::pair<std::string, GgufValue>>& entries() const { return entries_; }

 private:
  [[noreturn]] void refuse(std::string_view key, const char* expected, const GgufValue& found) const;

  std::vector<std::pair<std::string, GgufValue>> entries_;
  std::map<std::string, size_t, std::less<>> index_;
};

// What one file, or one part of a split one, holds. The tensors point into the bytes it was read from.
struct GgufContents {
  GgufMetadata metadata;
  std::vector<Tensor> tensors;  // file order
};

// Tensors that other programs must not see (the multi-token-prediction layer: llama.cpp refuses a file with one tensor
// more than it asks for) lie in an appendix: a second container, header and all, behind the data of the first, at the
// offset that hearth.appendix names. Other programs never look there; here its tensors simply follow the others. A file
// that ends before its appendix was rewritten by such a program, and is whole without it.

// Reads the container from memory. Trusts nothing: magic, version, every count, string, type, offset and size is
// checked against `bytes` before use, and tensors may not overlap. Throws Error(format) naming `source`.
GgufContents parse_gguf(std::span<const std::byte> bytes, const std::string& source);

// What a tensor of the file to be written will be; its bytes come later, in pieces.
struct GgufTensorPlan {
  std::string name;
  const Format* format;
  Shape shape;
  bool appendix = false;  // hidden from other programs; these come last
  size_t bytes() const { return format->bytes(shape.cols()) * size_t(shape.rows()); }
};

// A mapped GGUF file, or all parts of a split one (split_file.h; opened by any part).
class GgufFile {
 public:
  // Throws Error(file) or Error(format), which says what the file is where it is something else: a checkpoint, a piece
  // of a GGUF file; Error(resource) where there are more parts than a process may have files open. Tensors may be of
  // formats that are not computed here.
  static GgufFile open(const std::string& path);

  // Adds those tensors of another file for which `which` is true, and its parts behind these. Metadata stay as they
  // are. Throws Error(format): a name that is there already.
  void include(GgufFile other, const std::function<bool(const Tensor&)>& which);

  // Of what parse_gguf read, from bytes that outlive it: a file without parts.
  static GgufFile of(GgufContents contents);

  // The directory of a file that is still to be written, as its readers will find it: tensors have no data yet.
  static GgufFile planned(const std::string& path, const GgufMetadata& metadata,
                          const std::vector<GgufTensorPlan>& tensors);

  const std::string& path() const { return metadata_.source; }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }  // file order
  const Tensor* find_tensor(std::string_view name) const;          // null: absent
  const Tensor& tensor(std::string_view name) const;               // throws Error(model): absent
  uint64_t file_bytes() const;                                     // of all parts
  const std::vector<std::unique_ptr<MappedFile>>& parts() const { return parts_; }
  const MappedFile* part_of(const std::byte* data) const;  // which holds this byte; null: none

 private:
  void add(std::unique_ptr<MappedFile> part, GgufContents&& contents);
  void add(Tensor tensor, const std::string& from);

  std::vector<std::unique_ptr<MappedFile>> parts_;
  std::map<const std::byte*, size_t> by_address_;  // where parts begin in memory
  GgufMetadata metadata_;
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

inline constexpr uint32_t kGgufAlignment = 64;  // of the files that we write

// Writes to `path + ".partial"`, and renames to `path` only after everything arrived, was synced and is complete; both
// stand beside what a link names, and the mode of what is replaced is kept. A destroyed unfinished writer removes the
// partial file, unless it was told to leave it to a later writer; nothing that looks whole is ever left behind.
class GgufWriter {
 public:
  // Lays out and writes the header, and claims the disk space of the whole file: a full disk is known now. Values known
  // only at the end (checksums) are given here with their final length and replaced by `patch` before `finish`.
  // `general.alignment` and `hearth.appendix` are set by the writer, and `hearth.checksum_names` where there are
  // checksums. Throws Error(file), or Error(format) for names or shapes no reader takes.
  //
  // `arrived` is asked when nobody else can write under the temporary name any more: which tensors an earlier writer of
  // the same plan has left there, whole. They need not be written again. None, or no file of this plan's size there: it
  // begins empty.
  using Arrived = std::function<std::vector<size_t>(bool same_size)>;
  GgufWriter(const std::string& path, const GgufMetadata& metadata, std::vector<GgufTensorPlan> tensors,
             uint32_t alignment = kGgufAlignment, const Arrived& arrived = {});
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  uint64_t file_bytes() const;  // of the finished file, exact
  // Writes bytes of tensor i at an offset inside it. Any order, from several threads. Throws Error(file): disk full.
  void write(size_t tensor, size_t offset, std::span<const std::byte> bytes);
  // Replaces the value of a key that was in the metadata; the encoded length must be the same.
  void patch(const std::string& key, const GgufValue& value);
  const std::string& partial_path() const;
  uint64_t tensor_offset(size_t tensor) const;  // in the file
  // Tells that these bytes of a tensor have been written, for the disk to begin with (WriteBehind). From one thread,
  // and best in the order of the file.
  void written(size_t tensor, size_t offset, size_t bytes);
  // Whether the partial file outlives an unfinished writer. At first it does if any of it was kept.
  void leave_partial(bool leave);
  void sync();    // data to disk; the file still has its temporary name, so it can be read back and verified
  void finish();  // checks that every tensor's bytes arrived, syncs, renames, syncs the directory

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Exact size that GgufWriter would give, without writing anything.
uint64_t gguf_file_bytes(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors,
                         uint32_t alignment = kGgufAlignment);
// XXH3-64 of everything in that file but the tensors' data: metadata, names, formats, shapes, places.
uint64_t gguf_header_checksum(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors,
                              uint32_t alignment = kGgufAlignment);

}  // namespace hearth
