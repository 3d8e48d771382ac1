#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "quant/not_gguf.h"
#include "quant/round_up.h"

namespace hearth {

namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place");

constexpr uint32_t kDefaultAlignment = 32;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;             // one-letter key, type, a u8
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // one-letter name, rank 1
constexpr uint64_t kMaxNameBytes = 65535;                    // GGUF's limit for keys; tensor names have 64

// Names end up in messages on terminals, so they hold no control characters.
bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}

// A reading position in the header. Every read is checked against the end of the file.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  uint64_t position() const { return at_; }
  uint64_t remaining() const { return bytes_.size() - at_; }

  // `n` bytes; `what` and `whose` are for the message: "the value of", "general.name".
  const std::byte* take(uint64_t n, const char* what, std::string_view whose = {}) {
    require(n <= remaining(), ErrorKind::format,
            "{}: truncated or corrupt: {}{}{} takes {} bytes at {}, the file has {}", source_, what,
            whose.empty() ? "" : " ", whose, n, at_, bytes_.size());
    const std::byte* begin = bytes_.data() + at_;
    at_ += n;
    return begin;
  }

  template <class T>
  T number(const char* what, std::string_view whose = {}) {
    T value;
    std::memcpy(&value, take(sizeof value, what, whose), sizeof value);
    return value;
  }

  std::string_view string(const char* what, std::string_view whose = {}) {
    const auto length = number<uint64_t>(what, whose);
    return {reinterpret_cast<const char*>(take(length, what, whose)), length};
  }

  // A key or a tensor name; `what` is "the name of tensor" and `index` its number.
  std::string_view name(const char* what, uint64_t index) {
    const uint64_t begin = at_;
    const std::string_view text = string(what, std::to_string(index));
    require(!text.empty() && text.size() <= kMaxNameBytes && printable(text), ErrorKind::format,
            "{}: corrupt: {} {} at {} is empty, too long or holds control characters", source_, what, index, begin);
    return text;
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& source_;
  uint64_t at_ = 0;
};

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& source, bool is_appendix = false)
      : bytes_(bytes), source_(source), is_appendix_(is_appendix), cursor_(bytes, source) {
    contents_.metadata.source = source;
  }

  GgufContents parse() {
    read_magic_and_version();
    const auto n_tensors = read_count("tensor count", kMinTensorBytes);
    const auto n_keys = read_count("key count", kMinKeyBytes);
    for (uint64_t i = 0; i < n_keys; ++i) read_key(i);
    read_alignment();
    for (uint64_t i = 0; i < n_tensors; ++i) read_tensor(i);
    place_tensors();
    read_appendix();
    return std::move(contents_);
  }

 private:
  struct Place {
    uint64_t offset;  // from the start of the data
    size_t tensor;
  };

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::format, "{}: {}", source_, fmt::format(format, std::forward<Args>(args)...));
  }

  void read_magic_and_version() {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      refuse("expected a GGUF file, found {}", what_bytes_are(bytes_));
    }
    cursor_.take(4, "the magic");
    const auto version = cursor_.number<uint32_t>("the version");
    if (version != 0 && (version & 0xffff) == 0) refuse("is a big-endian GGUF file, expected little-endian");
    if (version != 2 && version != 3) refuse("GGUF version: expected 2 or 3, found {}", version);  // 2 and 3 read alike
  }

  // A count is believed only as far as the bytes that follow could hold that many.
  uint64_t read_count(const char* what, uint64_t min_bytes) {
    const auto count = cursor_.number<uint64_t>(what);
    if (count > cursor_.remaining() / min_bytes) {
      refuse("truncated or corrupt: {} is {}, and only {} bytes follow", what, count, cursor_.remaining());
    }
    return count;
  }

  void read_key(uint64_t index) {
    const std::string key(cursor_.name("key", index));
    if (contents_.metadata.find(key)) refuse("corrupt: key {} occurs twice", key);
    GgufValue value;
    value.type = read_type(key);
    if (value.type == GgufType::array) {
      value.is_array = true;
      value.type = read_type(key);
      if (value.type == GgufType::array) refuse("key {}: arrays of arrays are not supported", key);
      read_array(key, value);
    } else {
      read_single(key, value);
    }
    contents_.metadata.set(key, std::move(value));
  }

  GgufType read_type(std::string_view key) {
    const auto type = cursor_.number<uint32_t>("the type of", key);
    if (type > uint32_t(GgufType::f64)) refuse("key {}: expected a value type of 0 to 12, found {}", key, type);
    return GgufType(type);
  }

  void read_single(std::string_view key, GgufValue& value) {
    switch (value.type) {
      case GgufType::u8:
        value.data = uint64_t(item<uint8_t>(key));
        break;
      case GgufType::i8:
        value.data = int64_t(item<int8_t>(key));
        break;
      case GgufType::u16:
        value.data = uint64_t(item<uint16_t>(key));
        break;
      case GgufType::i16:
        value.data = int64_t(item<int16_t>(key));
        break;
      case GgufType::u32:
        value.data = uint64_t(item<uint32_t>(key));
        break;
      case GgufType::i32:
        value.data = int64_t(item<int32_t>(key));
        break;
      case GgufType::u64:
        value.data = item<uint64_t>(key);
        break;
      case GgufType::i64:
        value.data = item<int64_t>(key);
        break;
      case GgufType::f32:
        value.data = double(item<float>(key));
        break;
      case GgufType::f64:
        value.data = item<double>(key);
        break;
      case GgufType::boolean:
        value.data = item<bool>(key);
        break;
      case GgufType::string:
        value.data = item<std::string>(key);
        break;
      case GgufType::array:
        break;  // read_key took it
    }
  }

  void read_array(std::string_view key, GgufValue& value) {
    switch (value.type) {
      case GgufType::u8:
        value.data = items<uint8_t, uint64_t>(key);
        break;
      case GgufType::i8:
        value.data = items<int8_t, int64_t>(key);
        break;
      case GgufType::u16:
        value.data = items<uint16_t, uint64_t>(key);
        break;
      case GgufType::i16:
        value.data = items<int16_t, int64_t>(key);
        break;
      case GgufType::u32:
        value.data = items<uint32_t, uint64_t>(key);
        break;
      case GgufType::i32:
        value.data = items<int32_t, int64_t>(key);
        break;
      case GgufType::u64:
        value.data = items<uint64_t, uint64_t>(key);
        break;
      case GgufType::i64:
        value.data = items<int64_t, int64_t>(key);
        break;
      case GgufType::f32:
        value.data = items<float, double>(key);
        break;
      case GgufType::f64:
        value.data = items<double, double>(key);
        break;
      case GgufType::boolean:
        value.data = items<bool, bool>(key);
        break;
      case GgufType::string:
        value.data = items<std::string, std::string>(key);
        break;
      case GgufType::array:
        break;  // refused by read_key
    }
  }

  template <class T>
  T item(std::string_view key) {
    if constexpr (std::is_same_v<T, std::string>) {
      return std::string(cursor_.string("the value of", key));
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto byte = cursor_.number<uint8_t>("the value of", key);
      if (byte > 1) refuse("key {}: expected a bool of 0 or 1, found {}", key, byte);
      return byte == 1;
    } else {
      return cursor_.number<T>("the value of", key);
    }
  }

  // `Disk` is the element in the file, `Kept` what it becomes in memory.
  template <class Disk, class Kept>
  std::vector<Kept> items(std::string_view key) {
    constexpr uint64_t min_bytes = std::is_same_v<Disk, std::string> ? sizeof(uint64_t) : sizeof(Disk);
    const auto count = cursor_.number<uint64_t>("the length of", key);
    if (count > cursor_.remaining() / min_bytes) {
      refuse("truncated or corrupt: key {} has {} elements, and only {} bytes follow", key, count, cursor_.remaining());
    }
    std::vector<Kept> out;
    out.reserve(count);
    for (uint64_t i = 0; i < count; ++i) out.push_back(item<Disk>(key));
    return out;
  }

  void read_alignment() {
    const GgufValue* value = contents_.metadata.find(key::kAlignment);
    if (!value) return;
    const auto* found = std::get_if<uint64_t>(&value->data);
    if (!found || value->type != GgufType::u32 || *found < 8 || !std::has_single_bit(*found)) {
      refuse("key {}: expected u32, a power of two of at least 8, found {} {}", key::kAlignment, value->type_text(),
             value->text());
    }
    alignment_ = uint32_t(*found);
  }

  void read_tensor(uint64_t index) {
    Tensor tensor;
    tensor.name = std::string(cursor_.name("the name of tensor", index));
    tensor.shape = read_shape(tensor.name);
    tensor.format = &listed_format(cursor_.number<uint32_t>("the format of tensor", tensor.name));
    const auto offset = cursor_.number<uint64_t>("the offset of tensor", tensor.name);
    if (tensor.format->sized() && !tensor.format->fits(tensor.shape.cols())) {
      refuse("tensor {} {}: rows of {} need a multiple of {} columns, found {}", tensor.name, tensor.shape.text(),
             tensor.format->name, tensor.format->block_elems, tensor.shape.cols());
    }
    if (offset % alignment_ != 0) {
      refuse("tensor {}: expected an offset that is a multiple of {}, found {}", tensor.name, alignment_, offset);
    }
    places_.push_back({offset, contents_.tensors.size()});
    contents_.tensors.push_back(std::move(tensor));
  }

  // GGUF lists the contiguous dimension first, we list it last.
  Shape read_shape(std::string_view name) {
    const auto rank = cursor_.number<uint32_t>("the rank of tensor", name);
    if (rank < 1 || rank > 4) refuse("tensor {}: expected 1 to 4 dimensions, found {}", name, rank);
    Shape shape;
    shape.rank = int(rank);
    // No weight takes less than a bit, so more elements than bits in the file are nonsense; this bound also keeps
    // every later product far from overflow.
    const uint64_t most = bytes_.size() * 8;
    uint64_t elems = 1;
    for (int i = shape.rank - 1; i >= 0; --i) {
      const auto dim = cursor_.number<uint64_t>("the dimensions of tensor", name);
      if (dim == 0) refuse("tensor {}: a dimension is 0", name);
      if (dim > most / elems) refuse("truncated or corrupt: tensor {} is larger than the file", name);
      elems *= dim;
      shape.dim[i] = int64_t(dim);
    }
    return shape;
  }

  uint64_t align(uint64_t value) const { return round_up(value, alignment_); }

  // Everything is known now: points the tensors at their data, and checks that they lie in the file and apart.
  void place_tensors() {
    const uint64_t data_begin = align(cursor_.position());
    data_end_ = data_begin;
    const uint64_t data_bytes = data_begin < bytes_.size() ? bytes_.size() - data_begin : 0;
    std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) { return a.offset < b.offset; });
    for (size_t i = 0; i < places_.size(); ++i) {
      const uint64_t offset = places_[i].offset;
      const uint64_t next = i + 1 < places_.size() ? places_[i + 1].offset : data_bytes;
      Tensor& tensor = contents_.tensors[places_[i].tensor];
      if (!tensor.format->sized()) tensor.extent = next > offset ? next - offset : 1;  // nothing is too little
      if (offset > data_bytes || tensor.bytes() > data_bytes - offset) {
        refuse("truncated or corrupt: tensor {} takes {} bytes at {} of the data, the file has {}", tensor.name,
               tensor.bytes(), offset, data_bytes);
      }
      if (i + 1 < places_.size() && tensor.bytes() > next - offset) {
        refuse("corrupt: tensors {} and {} overlap", tensor.name, contents_.tensors[places_[i + 1].tensor].name);
      }
      tensor.data = bytes_.data() + data_begin + offset;
      data_end_ = std::max(data_end_, data_begin + align(offset + tensor.bytes()));
    }
  }

  void read_appendix() {
    const auto offset = contents_.metadata.unsigned_integer(key::kHearthAppendix);
    if (!offset || data_end_ >= bytes_.size()) return;
    if (is_appendix_) refuse("corrupt: its appendix has an appendix");
    if (*offset != data_end_) {
      refuse("truncated or corrupt: expected an appendix behind the data at {}, key {} says {}", data_end_,
             key::kHearthAppendix, *offset);
    }
    GgufContents appendix = Parser(bytes_.subspan(data_end_), source_, true).parse();
    for (Tensor& tensor : appendix.tensors) contents_.tensors.push_back(std::move(tensor));
  }

  std::span<const std::byte> bytes_;
  const std::string& source_;
  const bool is_appendix_;
  Cursor cursor_;
  GgufContents contents_;
  std::vector<Place> places_;
  uint64_t data_end_ = 0;  // with the padding of the last tensor
  uint32_t alignment_ = kDefaultAlignment;
};

}  // namespace

GgufContents parse_gguf(std::span<const std::byte> bytes, const std::string& source) {
  return Parser(bytes, source).parse();
}

}  // namespace hearth
