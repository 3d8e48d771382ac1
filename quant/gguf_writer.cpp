#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>

#include "quant/checksum.h"
#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "quant/output_file.h"
#include "quant/partial_file.h"
#include "quant/round_up.h"
#include "quant/write_behind.h"

namespace hearth {

namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kMaxTensorName = 63;  // ggml keeps names in 64 bytes with a final zero

std::string reason(int error) {
  return std::generic_category().message(error);
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Values as the bytes of the file.
class Encoder {
 public:
  std::string bytes;

  void raw(std::string_view text) { bytes += text; }
  template <class T>
  void number(T value) {
    raw({reinterpret_cast<const char*>(&value), sizeof value});
  }
  void string(std::string_view text) {
    number(uint64_t(text.size()));
    raw(text);
  }

  // The value without its type: what `patch` may replace.
  void value(const GgufValue& value) {
    std::visit([&](const auto& data) { encode(value.type, data); }, value.data);
  }
  void type(const GgufValue& value) {
    if (value.is_array) number(uint32_t(GgufType::array));
    number(uint32_t(value.type));
  }

 private:
  template <class T>
  void encode(GgufType type, const std::vector<T>& items) {
    number(uint64_t(items.size()));
    for (const auto& item : items) encode(type, T(item));
  }
  void encode(GgufType, const std::string& text) { string(text); }
  void encode(GgufType, bool value) { number(uint8_t(value)); }
  void encode(GgufType type, double value) {
    if (type == GgufType::f32) return number(float(value));
    number(value);
  }
  template <std::integral T>
  void encode(GgufType type, T value) {
    switch (type) {
      case GgufType::u8:
      case GgufType::i8:
        return number(uint8_t(value));
      case GgufType::u16:
      case GgufType::i16:
        return number(uint16_t(value));
      case GgufType::u32:
      case GgufType::i32:
        return number(uint32_t(value));
      default:
        return number(uint64_t(value));
    }
  }
};

// The headers as bytes, and where everything lies in the file.
struct Layout {
  struct KeyPlace {
    std::string key;
    uint64_t offset;  // of the value in the file
    uint64_t bytes;
    GgufType type;
    bool is_array;
  };
  struct Header {
    uint64_t offset;
    std::string bytes;
  };
  std::vector<Header> headers;           // of the file, and of its appendix where it has one
  std::vector<KeyPlace> keys;            // of the first header
  std::vector<uint64_t> tensor_offsets;  // in the file
  uint64_t file_bytes = 0;
};

void check_plan(const GgufTensorPlan& plan, std::set<std::string_view>& names) {
  require(!plan.name.empty() && plan.name.size() <= kMaxTensorName, ErrorKind::format,
          "tensor name \"{}\": expected 1 to {} bytes, found {}", plan.name, kMaxTensorName, plan.name.size());
  require(names.insert(plan.name).second, ErrorKind::format, "tensor {} is planned twice", plan.name);
  require(plan.shape.rank >= 1 && plan.shape.elems() > 0, ErrorKind::format, "tensor {}: shape {} has no elements",
          plan.name, plan.shape.text());
  require(plan.format->fits(plan.shape.cols()), ErrorKind::format,
          "tensor {} {}: rows of {} need a multiple of {} columns, found {}", plan.name, plan.shape.text(),
          plan.format->name, plan.format->block_elems, plan.shape.cols());
}

// Appends a container to the layout: a header that lists tensors[first..last), and room for them.
void add_container(Layout& layout, const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors,
                   size_t first, size_t last, uint32_t alignment) {
  Encoder out;
  out.raw("GGUF");
  out.number(kVersion);
  out.number(uint64_t(last - first));
  out.number(uint64_t(metadata.entries().size()));
  for (const auto& [key, value] : metadata.entries()) {
    out.string(key);
    out.type(value);
    const uint64_t begin = out.bytes.size();
    out.value(value);
    if (!layout.headers.empty()) continue;
    layout.keys.push_back({key, begin, out.bytes.size() - begin, value.type, value.is_array});
  }

  uint64_t offset = 0;  // from the start of the data
  for (size_t i = first; i < last; ++i) {
    const GgufTensorPlan& plan = tensors[i];
    out.string(plan.name);
    out.number(uint32_t(plan.shape.rank));
    for (int j = plan.shape.rank - 1; j >= 0; --j) out.number(uint64_t(plan.shape.dim[j]));  // contiguous one first
    out.number(uint32_t(plan.format->id));
    out.number(offset);
    layout.tensor_offsets.push_back(offset);
    offset += round_up(plan.bytes(), alignment);
  }
  out.bytes.resize(round_up(out.bytes.size(), alignment));
  const uint64_t data_begin = layout.file_bytes + out.bytes.size();
  for (size_t i = first; i < last; ++i) layout.tensor_offsets[i] += data_begin;
  layout.headers.push_back({layout.file_bytes, std::move(out.bytes)});
  layout.file_bytes = data_begin + offset;
}

// Other programs copy tensors in another order or format: each checksum says what it is of.
void name_checksums(GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors) {
  if (!metadata.find(key::kHearthChecksums)) return;
  std::vector<std::string> names;
  for (const GgufTensorPlan& plan : tensors) names.push_back(plan.name + " " + plan.format->name);
  metadata.set(key::kHearthChecksumNames, GgufValue::of_strings(std::move(names)));
}

Layout lay_out(GgufMetadata metadata, const std::vector<GgufTensorPlan>& tensors, uint32_t alignment) {
  assert(std::has_single_bit(alignment) && alignment >= 8);
  const auto in_appendix = [](const GgufTensorPlan& plan) { return plan.appendix; };
  assert(std::is_partitioned(tensors.rbegin(), tensors.rend(), in_appendix));
  const size_t n_main = size_t(std::find_if(tensors.begin(), tensors.end(), in_appendix) - tensors.begin());
  std::set<std::string_view> names;
  for (const GgufTensorPlan& plan : tensors) check_plan(plan, names);

  GgufMetadata appendix_metadata;
  appendix_metadata.set(key::kAlignment, GgufValue::of_u32(alignment));
  metadata.set(key::kAlignment, GgufValue::of_u32(alignment));
  name_checksums(metadata, tensors);
  metadata.erase(key::kHearthAppendix);
  if (n_main < tensors.size()) {
    // The value depends on the header's size, and the size not on the value: laid out once to learn it.
    metadata.set(key::kHearthAppendix, GgufValue::of_u64(0));
    Layout trial;
    add_container(trial, metadata, tensors, 0, n_main, alignment);
    metadata.set(key::kHearthAppendix, GgufValue::of_u64(trial.file_bytes));
  }
  Layout layout;
  add_container(layout, metadata, tensors, 0, n_main, alignment);
  if (n_main < tensors.size()) add_container(layout, appendix_metadata, tensors, n_main, tensors.size(), alignment);
  return layout;
}

// Which bytes of a tensor have arrived: disjoint ranges, begin -> end.
class Coverage {
 public:
  void add(uint64_t begin, uint64_t end) {
    auto next = ranges_.upper_bound(begin);
    if (next != ranges_.begin() && std::prev(next)->second >= begin) begin = (--next)->first;
    while (next != ranges_.end() && next->first <= end) {
      end = std::max(end, next->second);
      next = ranges_.erase(next);
    }
    ranges_[begin] = end;
  }
  bool complete(uint64_t size) const {
    return size == 0 || (ranges_.size() == 1 && ranges_.begin()->first == 0 && ranges_.begin()->second == size);
  }
  uint64_t bytes() const {
    uint64_t total = 0;
    for (const auto& [begin, end] : ranges_) total += end - begin;
    return total;
  }

 private:
  std::map<uint64_t, uint64_t> ranges_;
};

}  // namespace

struct GgufWriter::Impl {
  std::string path;
  PartialFile partial;
  WriteBehind behind;
  std::vector<GgufTensorPlan> tensors;
  Layout layout;
  std::mutex mutex;  // guards `arrived`
  std::vector<Coverage> arrived;

  void open_partial();
  void keep(const std::vector<size_t>& tensors);
  void claim_space();
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
};

void GgufWriter::Impl::open_partial() {
  struct stat old;
  const bool exists = stat(path.c_str(), &old) == 0;
  require(!exists || S_ISREG(old.st_mode), ErrorKind::file,
          "{}: exists and is not a regular file, so it cannot be replaced", path);
  const bool may_replace = !exists || access(path.c_str(), W_OK) == 0;
  require(may_replace, ErrorKind::file, "{}: cannot write: {}", path, reason(errno));
  partial = PartialFile::take_over(path);
  behind = WriteBehind(partial.fd());
  if (exists) fchmod(partial.fd(), old.st_mode & 0777);  // what is replaced keeps its mode
}

// Nothing but the data of these tensors stays of what the partial file held; what lies between them is written anew or
// is padding, which this plan's earlier writer left as zeros.
void GgufWriter::Impl::keep(const std::vector<size_t>& kept) {
  if (kept.empty()) {
    const bool emptied = ftruncate(partial.fd(), 0) == 0;
    require(emptied, ErrorKind::file, "{}: cannot empty: {}", partial.name(), reason(errno));
  }
  partial.leave(!kept.empty());
  for (const size_t i : kept) arrived.at(i).add(0, tensors[i].bytes());
}

// Gives the file its final size, as blocks of the disk where the file system can promise them. Unwritten bytes, such as
// the padding between tensors, read as zeros.
void GgufWriter::Impl::claim_space() {
  const auto size = off_t(layout.file_bytes);
  int result;
  do {
    result = fallocate(partial.fd(), 0, 0, size);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) result = ftruncate(partial.fd(), size);
  if (result == 0) return;
  const int error = errno;
  std::error_code ignored;
  const auto space = std::filesystem::space(std::filesystem::absolute(path).parent_path(), ignored);
  fail(ErrorKind::file, "{}: cannot claim {} bytes: {} ({} bytes are free)", partial.name(), layout.file_bytes,
       reason(error), space.available);
}

void GgufWriter::Impl::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(partial.fd(), bytes.data(), bytes.size(), off_t(offset));
    if (written < 0 && errno == EINTR) continue;
    require(written > 0, ErrorKind::file, "{}: cannot write {} bytes at {}: {}", partial.name(), bytes.size(), offset,
            written < 0 ? reason(errno) : "the system took none");
    offset += uint64_t(written);
    bytes = bytes.subspan(size_t(written));
  }
}

GgufWriter::GgufWriter(const std::string& path, const GgufMetadata& metadata, std::vector<GgufTensorPlan> tensors,
                       uint32_t alignment, const Arrived& arrived)
    : impl_(std::make_unique<Impl>()) {
  require(path != "-", ErrorKind::usage,
          "-: standard output cannot be written out of order and read back: expected a file's name");
  impl_->path = link_target(path);
  impl_->layout = lay_out(metadata, tensors, alignment);
  impl_->arrived.resize(tensors.size());
  impl_->tensors = std::move(tensors);
  impl_->open_partial();
  struct stat found;
  const bool same_size = fstat(impl_->partial.fd(), &found) == 0 && uint64_t(found.st_size) == file_bytes();
  const std::vector<size_t> left = arrived ? arrived(same_size) : std::vector<size_t>();
  impl_->keep(same_size ? left : std::vector<size_t>());
  impl_->claim_space();
  for (const Layout::Header& header : impl_->layout.headers) impl_->write_at(header.offset, as_bytes(header.bytes));
}

GgufWriter::~GgufWriter() = default;

uint64_t GgufWriter::file_bytes() const {
  return impl_->layout.file_bytes;
}
const std::string& GgufWriter::partial_path() const {
  return impl_->partial.name();
}

void GgufWriter::write(size_t tensor, size_t offset, std::span<const std::byte> bytes) {
  const GgufTensorPlan& plan = impl_->tensors.at(tensor);
  require(offset <= plan.bytes() && bytes.size() <= plan.bytes() - offset, ErrorKind::format,
          "{}: tensor {}: {} bytes at {} do not fit into its {}", impl_->partial.name(), plan.name, bytes.size(),
          offset, plan.bytes());
  if (bytes.empty()) return;
  impl_->write_at(impl_->layout.tensor_offsets[tensor] + offset, bytes);
  const std::lock_guard lock(impl_->mutex);
  impl_->arrived[tensor].add(offset, offset + bytes.size());
}

void GgufWriter::patch(const std::string& key, const GgufValue& value) {
  Encoder out;
  out.value(value);
  for (const Layout::KeyPlace& place : impl_->layout.keys) {
    if (place.key != key) continue;
    require(place.type == value.type && place.is_array == value.is_array && place.bytes == out.bytes.size(),
            ErrorKind::format, "{}: key {}: reserved for {} bytes of type {}, cannot become {} bytes of {}",
            impl_->partial.name(), key, place.bytes, uint32_t(place.type), out.bytes.size(), value.type_text());
    impl_->write_at(place.offset, as_bytes(out.bytes));
    return;
  }
  fail(ErrorKind::format, "{}: key {} was not reserved when the file was begun", impl_->partial.name(), key);
}

uint64_t GgufWriter::tensor_offset(size_t tensor) const {
  return impl_->layout.tensor_offsets.at(tensor);
}

void GgufWriter::written(size_t tensor, size_t offset, size_t bytes) {
  impl_->behind.add(tensor_offset(tensor) + offset, bytes);
}

void GgufWriter::leave_partial(bool leave) {
  impl_->partial.leave(leave);
}

void GgufWriter::sync() {
  const bool synced = impl_->partial.sync();
  require(synced, ErrorKind::file, "{}: cannot write to disk: {}", impl_->partial.name(), reason(errno));
}

void GgufWriter::finish() {
  for (size_t i = 0; i < impl_->tensors.size(); ++i) {
    const GgufTensorPlan& plan = impl_->tensors[i];
    require(impl_->arrived[i].complete(plan.bytes()), ErrorKind::format, "{}: tensor {}: expected {} bytes, {} arrived",
            impl_->partial.name(), plan.name, plan.bytes(), impl_->arrived[i].bytes());
  }
  sync();
  const bool renamed = impl_->partial.rename();  // still locked: nobody else can have taken it over
  require(renamed, ErrorKind::file, "{}: cannot rename to {}: {}", impl_->partial.name(), impl_->path, reason(errno));

  // The new name itself is on disk only once its directory is. Some file systems cannot sync one (EINVAL): that is as
  // good as it gets there.
  const std::string folder = std::filesystem::absolute(impl_->path).parent_path();
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  require(fd >= 0, ErrorKind::file, "{}: cannot open the folder to sync it: {}", folder, reason(errno));
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  require(error == 0 || error == EINVAL, ErrorKind::file, "{}: cannot sync the folder: {}", folder, reason(error));
}

uint64_t gguf_file_bytes(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors, uint32_t alignment) {
  return lay_out(metadata, tensors, alignment).file_bytes;
}

uint64_t gguf_header_checksum(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors,
                              uint32_t alignment) {
  Checksum sum;
  for (const Layout::Header& header : lay_out(metadata, tensors, alignment).headers) sum.add(as_bytes(header.bytes));
  return sum.value();
}

}  // namespace hearth
