#include "convert/safetensors.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "convert/json_file.h"
#include "quant/error.h"

namespace hearth {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the safetensors library
constexpr size_t kMaxNameBytes = 400;

const std::vector<SourceDtype>& dtypes() {
  static const std::vector<SourceDtype> table = {
      {"BF16", 2, &format_of(FormatId::bf16), false},
      {"F16", 2, &format_of(FormatId::f16), false},
      {"F32", 4, &format_of(FormatId::f32), false},
      {"F8_E4M3", 1, nullptr, true},
      // Known so that their sizes can be checked and a refusal can name them.
      {"F64", 8, nullptr, false},
      {"I64", 8, nullptr, false},
      {"U64", 8, nullptr, false},
      {"I32", 4, nullptr, false},
      {"U32", 4, nullptr, false},
      {"I16", 2, nullptr, false},
      {"U16", 2, nullptr, false},
      {"I8", 1, nullptr, false},
      {"U8", 1, nullptr, false},
      {"BOOL", 1, nullptr, false},
      {"F8_E5M2", 1, nullptr, false},
      {kE8M0, 1, nullptr, false},  // of scales only
  };
  return table;
}

std::string dtype_names() {
  std::string names;
  for (const SourceDtype& dtype : dtypes()) names += fmt::format("{}{}", names.empty() ? "" : " ", dtype.name);
  return names;
}

// One entry of the header as read, before its numbers are checked.
struct Entry {
  std::string name, dtype;
  std::vector<uint64_t> shape, offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

// Parses the header event by event, so that hostile JSON (deep nesting, a million keys in one tensor, duplicate keys)
// is refused where it begins instead of becoming a tree in memory. Callbacks that return false stop the parser;
// `problem` says why.
class HeaderHandler {
 public:
  std::vector<Entry> entries;
  std::string problem;

  bool start_object(size_t) {
    switch (state_) {
      case State::begin:
        return enter(State::names);
      case State::tensor_value:
        entries.push_back({});
        entries.back().name = name_;
        return enter(State::fields);
      case State::metadata_value:
        return enter(State::metadata);
      default:
        return unexpected("an object");
    }
  }

  bool key(std::string& text) {
    switch (state_) {
      case State::names:
        if (text.empty() || text.size() > kMaxNameBytes || one_line(text) != text) {
          return stop(
              fmt::format("a tensor's name is empty, too long or holds control characters: {}", one_line(text)));
        }
        if (!names_.insert(text).second) return stop(fmt::format("{} occurs twice", text));
        name_ = text;
        return enter(text == "__metadata__" ? State::metadata_value : State::tensor_value);
      case State::fields: {
        Entry& entry = entries.back();
        if (text == "dtype" && !std::exchange(entry.has_dtype, true)) return enter(State::dtype);
        if (text == "shape" && !std::exchange(entry.has_shape, true)) return enter(State::shape_value);
        if (text == "data_offsets" && !std::exchange(entry.has_offsets, true)) return enter(State::offsets_value);
        return stop(fmt::format("{}: expected dtype, shape and data_offsets once each, found another {}", name_,
                                one_line(text)));
      }
      case State::metadata:
        return true;
      default:
        return unexpected("a key");
    }
  }

  bool end_object() {
    switch (state_) {
      case State::names:
        return enter(State::end);
      case State::fields: {
        const Entry& entry = entries.back();
        if (!entry.has_dtype || !entry.has_shape || !entry.has_offsets) {
          return stop(fmt::format("{}: has no {}", name_,
                                  !entry.has_dtype   ? "dtype"
                                  : !entry.has_shape ? "shape"
                                                     : "data_offsets"));
        }
        return enter(State::names);
      }
      case State::metadata:
        return enter(State::names);
      default:
        return unexpected("the end of an object");
    }
  }

  bool start_array(size_t) {
    if (state_ == State::shape_value) return enter(State::shape);
    if (state_ == State::offsets_value) return enter(State::offsets);
    return unexpected("an array");
  }
  bool end_array() { return enter(State::fields); }  // the parser pairs the brackets

  bool number_unsigned(uint64_t value) {
    if (state_ == State::shape) {
      if (entries.back().shape.size() == 8) return stop(fmt::format("{}: more than 8 dimensions", name_));
      entries.back().shape.push_back(value);
      return true;
    }
    if (state_ == State::offsets) {
      if (entries.back().offsets.size() == 2) {
        return stop(fmt::format("{}: expected 2 data_offsets, found more", name_));
      }
      entries.back().offsets.push_back(value);
      return true;
    }
    return unexpected("a number");
  }

  bool string(std::string& text) {
    if (state_ == State::metadata) return true;
    if (state_ != State::dtype) return unexpected("a string");
    entries.back().dtype = text;
    return enter(State::fields);
  }

  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool number_integer(int64_t) { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) { return unexpected("a number that is not whole"); }
  bool binary(std::vector<uint8_t>&) { return unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    return stop(fmt::format("not valid JSON at byte {}: {}", position, error.what()));
  }

 private:
  // What the next event must be.
  enum class State {
    begin,           // the header's {
    names,           // a tensor's name, or the header's }
    tensor_value,    // a tensor's {
    fields,          // dtype, shape, data_offsets, or a tensor's }
    dtype,           // a string
    shape_value,     // [
    shape,           // numbers, ]
    offsets_value,   // [
    offsets,         // numbers, ]
    metadata_value,  // {
    metadata,        // keys and strings, }
    end,
  };

  bool enter(State state) {
    state_ = state;
    return true;
  }
  bool stop(std::string why) {
    if (problem.empty()) problem = std::move(why);
    return false;
  }
  bool unexpected(const char* what) {
    return stop(name_.empty() ? fmt::format("unexpected {}", what) : fmt::format("{}: unexpected {}", name_, what));
  }

  State state_ = State::begin;
  std::string name_;
  std::set<std::string> names_;
};

// Checks one entry against the data's size and turns it into a tensor.
SourceTensor believe(Entry&& entry, std::span<const std::byte> data, const std::string& path) {
  const std::string where = path + ": " + entry.name;
  SourceTensor tensor;
  tensor.dtype = find_source_dtype(entry.dtype);
  require(tensor.dtype, ErrorKind::format, "{}: expected a dtype of {}, found {}", where, dtype_names(),
          one_line(entry.dtype));
  require(entry.shape.size() <= 4, ErrorKind::format, "{}: expected at most 4 dimensions, found {}", where,
          entry.shape.size());
  require(entry.offsets.size() == 2, ErrorKind::format, "{}: expected 2 data_offsets, found {}", where,
          entry.offsets.size());
  const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
  require(begin <= end, ErrorKind::format, "{}: data_offsets [{}, {}] run backwards", where, begin, end);
  require(end <= data.size(), ErrorKind::format, "{}: truncated or corrupt: data ends at byte {}, the file has {}",
          where, end, data.size());

  tensor.shape.rank = int(entry.shape.size());
  uint64_t bytes = tensor.dtype->bytes;
  for (size_t i = 0; i < entry.shape.size(); ++i) {
    const uint64_t dim = entry.shape[i];
    // This check refuses products larger than the data, and with them any that would overflow.
    require(dim == 0 || bytes <= data.size() / dim, ErrorKind::format,
            "{}: truncated or corrupt: a dimension of {} makes it larger than the file", where, dim);
    bytes *= dim;
    tensor.shape.dim[i] = int64_t(dim);
  }
  require(bytes == end - begin, ErrorKind::format, "{}: expected {} bytes for {} {}, found {}", where, bytes,
          tensor.dtype->name, tensor.shape.text(), end - begin);
  tensor.bytes = data.subspan(begin, end - begin);
  tensor.name = std::move(entry.name);
  return tensor;
}

// Files that people often have instead of a safetensors file. A real one has eight bytes of length and then the { of
// its header; its first bytes may happen to be "<" or "PK".
void refuse_foreign(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() > 8 && bytes[8] == std::byte('{')) return;
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 64));
  const char* found = nullptr;
  if (head.starts_with("version https://git-lfs")) {
    found = "a Git LFS pointer: the file itself was not downloaded";
  } else if (head.starts_with("PK")) {
    found = "a zip or PyTorch archive";
  } else if (head.starts_with("GGUF")) {
    found = "a GGUF file";
  } else if (head.starts_with("<")) {
    found = "a web page";
  }
  require(!found, ErrorKind::format, "{}: expected a safetensors file, found {}", path, found ? found : "");
}

}  // namespace

const SourceDtype* find_source_dtype(std::string_view name) {
  for (const SourceDtype& dtype : dtypes()) {
    if (name == dtype.name) return &dtype;
  }
  return nullptr;
}

std::string SourceTensor::place() const {
  return file ? fs::path(file->path()).filename().string() + ": " + name : name;
}

std::string SourceTensor::description() const {
  return fmt::format("{} {} {}", place(), dtype->name, shape.text());
}

void require_there(const SourceTensor& tensor) {
  require(!tensor.file || tensor.file->is_there(), ErrorKind::usage,
          "{}: what becomes of this checkpoint depends on what is in it, so it has to be there first: pull it, then "
          "convert it",
          tensor.place());
}

std::vector<SourceTensor> parse_safetensors(std::span<const std::byte> bytes, const std::string& path) {
  refuse_foreign(bytes, path);
  require(bytes.size() >= 8, ErrorKind::format, "{}: truncated: expected at least 8 bytes, found {}", path,
          bytes.size());
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes.data(), 8);
  require(header_bytes <= kMaxHeaderBytes, ErrorKind::format,
          "{}: not a safetensors file: expected a header of at most {} bytes, found {}", path, kMaxHeaderBytes,
          header_bytes);
  require(header_bytes <= bytes.size() - 8, ErrorKind::format,
          "{}: truncated: the header takes {} bytes, the file has {}", path, header_bytes, bytes.size());

  HeaderHandler handler;
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + 8;
  const bool parsed = Json::sax_parse(text, text + header_bytes, &handler);
  require(parsed, ErrorKind::format, "{}: corrupt header: {}", path, handler.problem);

  const std::span<const std::byte> data = bytes.subspan(8 + header_bytes);
  std::vector<SourceTensor> tensors;
  tensors.reserve(handler.entries.size());
  for (Entry& entry : handler.entries) tensors.push_back(believe(std::move(entry), data, path));

  // Gaps between tensors (alignment) are harmless; overlapping tensors are not.
  std::sort(tensors.begin(), tensors.end(), [](const SourceTensor& a, const SourceTensor& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  for (size_t i = 1; i < tensors.size(); ++i) {
    const SourceTensor &before = tensors[i - 1], &after = tensors[i];
    require(before.bytes.data() + before.bytes.size() <= after.bytes.data(), ErrorKind::format,
            "{}: corrupt: {} and {} overlap", path, before.name, after.name);
  }
  return tensors;
}

std::map<std::string, std::string> parse_safetensors_index(std::string_view text, const std::string& path) {
  const Json json = parse_json_object(text, path);
  const auto map = json.find("weight_map");
  require(map != json.end() && map->is_object() && !map->empty(), ErrorKind::format,
          "{}: expected an object weight_map that names the file of each tensor", path);
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map->items()) {
    require(file.is_string(), ErrorKind::format, "{}: {}: expected the name of a file, found {}", path, one_line(name),
            json_text(file));
    const std::string& shard = file.get_ref<const std::string&>();
    // A name with a folder in it would let an index reach outside of the checkpoint.
    const bool plain = !shard.empty() && shard != "." && shard != ".." && shard.find('/') == std::string::npos &&
                       shard.find('\0') == std::string::npos && shard.size() < 256;
    require(plain, ErrorKind::format, "{}: {}: expected the name of a file beside the index, found {}", path,
            one_line(name), one_line(shard));
    files[name] = shard;
  }
  return files;
}

}  // namespace hearth
