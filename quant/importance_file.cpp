#include "quant/importance_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/error.h"
#include "quant/gguf.h"
#include "quant/gguf_keys.h"
#include "quant/not_gguf.h"

namespace hearth {
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";

// The older form, byte by byte.
class DatReader {
 public:
  DatReader(std::span<const std::byte> bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  ImportanceContents read() {
    constexpr size_t kLeast = 21;  // one entry, a name of one letter, one value
    require_form(bytes_.size() >= kLeast);
    ImportanceContents out;
    const int32_t n_entries = i32("the number of entries");
    require_form(n_entries > 0);
    for (int32_t i = 0; i < n_entries; ++i) read_entry(out);
    if (at_ == bytes_.size()) return out;
    out.n_chunks = uint64_t(std::max(0, i32("the number of chunks")));
    if (at_ == bytes_.size()) return out;
    const int32_t length = i32("the length of the text's name");
    require(length >= 0 && size_t(length) == bytes_.size() - at_, ErrorKind::format,
            "{}: corrupt: expected the {} bytes of the text's name at the end, found {}", source_, length,
            bytes_.size() - at_);
    if (length > 0) out.datasets.emplace_back(text(size_t(length)));
    return out;
  }

 private:
  // Nothing marks such a file: the first entry tells it from others.
  void require_form(bool ok) const {
    require(ok, ErrorKind::format, "{}: expected importance, in GGUF or in a .dat file, found {}", source_,
            what_bytes_are(bytes_));
  }

  void read_entry(ImportanceContents& out) {
    const int32_t length = i32("the length of a name");
    const bool named = length > 0 && length <= 256 && size_t(length) <= bytes_.size() - at_;
    if (out.entries.empty()) require_form(named);
    require(named, ErrorKind::format, "{}: corrupt: expected a name of 1 to 256 bytes at byte {}, found {}", source_,
            at_, length);
    const std::string name(text(size_t(length)));
    const bool printable = std::ranges::all_of(name, [](unsigned char c) { return c > ' ' && c < 0x7f; });
    if (out.entries.empty()) require_form(printable);
    require(printable, ErrorKind::format, "{}: corrupt: expected a tensor's name before byte {}", source_, at_);
    i32("the number of calls");  // in all values alike
    const int32_t n = i32("the number of values");
    require(n > 0 && uint64_t(n) * sizeof(float) <= bytes_.size() - at_, ErrorKind::format,
            "{}: corrupt: {}: expected 1 value or more, and as many as the file has, found {}", source_, name, n);
    const auto [entry, is_new] = out.entries.try_emplace(name);
    require(is_new, ErrorKind::format, "{}: corrupt: {} occurs twice", source_, name);
    entry->second.n_values = n;
    entry->second.values = bytes_.data() + at_;
    at_ += size_t(n) * sizeof(float);
  }

  int32_t i32(const char* what) {
    require(bytes_.size() - at_ >= sizeof(int32_t), ErrorKind::format, "{}: ends before {}, at byte {}", source_, what,
            at_);
    int32_t value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string_view text(size_t length) {
    at_ += length;
    return {reinterpret_cast<const char*>(bytes_.data()) + at_ - length, length};
  }

  std::span<const std::byte> bytes_;
  const std::string& source_;
  size_t at_ = 0;
};

// The counts of the tensor NAME.counts, beside the sums [matrices, columns].
std::vector<float> read_counts(const Tensor& counts, const Tensor& sums, const std::string& source) {
  const int64_t n = counts.shape.elems(), rows = sums.shape.rows();
  require(counts.format->id == FormatId::f32 && (n == 1 || n == rows), ErrorKind::format,
          "{}: {}: expected F32 [{}, 1], one for each matrix, found {} {}", source, counts.name, rows,
          counts.format->name, counts.shape.text());
  std::vector<float> out(static_cast<size_t>(n));
  std::memcpy(out.data(), counts.data, out.size() * sizeof(float));
  for (const float count : out) {
    require(std::isfinite(count) && count >= 0, ErrorKind::format, "{}: {}: expected numbers of tokens, found {}",
            source, counts.name, count);
  }
  return out;
}

ImportanceContents read_gguf(GgufContents&& gguf, const std::string& source) {
  const std::string type = gguf.metadata.string(key::kType).value_or("none");
  require(type == key::kImatrix, ErrorKind::format, "{}: expected importance ({} {}), found {} {}", source, key::kType,
          key::kImatrix, key::kType, type);
  ImportanceContents out;
  std::map<std::string_view, const Tensor*> named;
  for (const Tensor& tensor : gguf.tensors) named.emplace(tensor.name, &tensor);
  for (const Tensor& tensor : gguf.tensors) {
    if (!tensor.name.ends_with(kSums) || tensor.name.size() == kSums.size()) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    const auto counts = named.find(name + std::string(kCounts));
    require(counts != named.end(), ErrorKind::format, "{}: expected a tensor {}{} beside {}, found none", source, name,
            kCounts, tensor.name);
    require(tensor.format->id == FormatId::f32, ErrorKind::format, "{}: {}: expected F32, found {}", source,
            tensor.name, tensor.format->name);
    out.entries[name] = {tensor.shape.elems(), tensor.data, read_counts(*counts->second, tensor, source)};
  }
  require(!out.entries.empty(), ErrorKind::format, "{}: expected tensors NAME{}, found none", source, kSums);
  if (const auto* datasets = gguf.metadata.strings(key::kImatrixDatasets)) out.datasets = *datasets;
  out.n_chunks = gguf.metadata.unsigned_integer(key::kImatrixChunkCount).value_or(0);
  out.chunk_tokens = gguf.metadata.unsigned_integer(key::kImatrixChunkSize).value_or(0);
  return out;
}

}  // namespace

ImportanceContents parse_importance(std::span<const std::byte> bytes, const std::string& source) {
  const bool gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  return gguf ? read_gguf(parse_gguf(bytes, source), source) : DatReader(bytes, source).read();
}

ImportanceFile ImportanceFile::open(const std::string& path) {
  refuse_folder(path);
  ImportanceFile file{MappedFile(path)};
  static_cast<ImportanceContents&>(file) = parse_importance(file.bytes(), path);
  return file;
}

std::vector<float> ImportanceFile::values(std::string_view name) const {
  const ImportanceEntry& entry = entries.find(name)->second;
  std::vector<float> out(size_t(entry.n_values));
  std::memcpy(out.data(), entry.values, out.size() * sizeof(float));
  const auto bad = std::ranges::find_if(out, [](float x) { return !(std::isfinite(x) && x >= 0); });
  require(bad == out.end(), ErrorKind::format, "{}: {}: expected sums of squares, found {} at {}", path(), name,
          bad == out.end() ? 0 : *bad, bad - out.begin());
  return out;
}

void write_importance(const std::string& path, std::span<const ImportanceSums> entries,
                      const std::vector<std::string>& datasets, uint64_t n_chunks, uint64_t chunk_tokens) {
  GgufMetadata metadata;
  metadata.set(key::kType, GgufValue::of_string(key::kImatrix));
  metadata.set(key::kImatrixDatasets, GgufValue::of_strings(datasets));
  metadata.set(key::kImatrixChunkCount, GgufValue::of_u32(uint32_t(n_chunks)));
  metadata.set(key::kImatrixChunkSize, GgufValue::of_u32(uint32_t(chunk_tokens)));
  std::vector<GgufTensorPlan> tensors;
  for (const ImportanceSums& entry : entries) {
    const int64_t n = int64_t(entry.counts.size()), columns = int64_t(entry.sums.size()) / n;
    tensors.push_back({entry.name + std::string(kSums), &format_of(FormatId::f32), Shape(n, columns)});
    tensors.push_back({entry.name + std::string(kCounts), &format_of(FormatId::f32), Shape(n, 1)});
  }
  GgufWriter writer(path, metadata, tensors);
  for (size_t i = 0; i < entries.size(); ++i) {
    writer.write(2 * i, 0, std::as_bytes(entries[i].sums));
    writer.write(2 * i + 1, 0, std::as_bytes(entries[i].counts));
  }
  writer.finish();
}

void ExpertsSeen::add_layer(std::span<const float> counts) {
  ++layers;
  experts = int64_t(counts.size());
  few += std::ranges::count_if(counts, [](float n) { return n < kFewTokens; });
  none += std::ranges::count(counts, 0.0f);
}

std::string ExpertsSeen::text() const {
  if (few == 0) return "";
  return fmt::format("{} of {} x {} experts saw fewer than {} tokens{}", few, layers, experts, kFewTokens,
                     none > 0 ? fmt::format(", {} of them none", none) : "");
}

ExpertsSeen experts_seen(const ImportanceContents& contents) {
  ExpertsSeen seen;
  for (const auto& [name, entry] : contents.entries) {
    if (name.ends_with(name::kFfnDownExps) && entry.counts.size() > 1) seen.add_layer(entry.counts);
  }
  return seen;
}

}  // namespace hearth
