#include "runtime/eval/baseline.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "quant/error.h"

namespace hearth {
namespace {

constexpr char kMagic[8] = {'H', 'E', 'A', 'R', 'T', 'H', 'K', 'L'};
constexpr uint32_t kVersion = 1;
constexpr float kStep = 24.0f / 65535.0f;

struct FileHeader {
  char magic[8];
  uint32_t version, vocab_size, window, n_windows;
  uint64_t tokens_checksum;
  char model_name[64];
};
static_assert(sizeof(FileHeader) == 96);

size_t row_bytes(int64_t vocab_size) {
  return 2 * sizeof(float) + size_t(vocab_size) * sizeof(uint16_t);
}

BaselineHeader read_header(const MappedFile& file) {
  const auto bytes = file.bytes();
  FileHeader raw;
  require(bytes.size() >= sizeof raw && std::memcmp(bytes.data(), kMagic, sizeof kMagic) == 0, ErrorKind::format,
          "{}: not a file of stored predictions (it begins otherwise)", file.path());
  std::memcpy(&raw, bytes.data(), sizeof raw);
  require(raw.version == kVersion, ErrorKind::format, "{}: version: expected {}, found {}", file.path(), kVersion,
          raw.version);
  BaselineHeader header{int64_t(raw.vocab_size), int64_t(raw.window), int64_t(raw.n_windows), raw.tokens_checksum,
                        std::string(raw.model_name, strnlen(raw.model_name, sizeof raw.model_name))};
  // In long double, so that no header can overflow it.
  const long double expected = sizeof raw + (long double)(header.n_windows) *
                                                (long double)(std::max<int64_t>(header.rows_per_window(), 0)) *
                                                (long double)(row_bytes(header.vocab_size));
  require((long double)(bytes.size()) == expected, ErrorKind::format,
          "{}: truncated or corrupt: expected {:.0f} bytes, found {}", file.path(), double(expected), bytes.size());
  return header;
}

const std::string& absent(const std::string& path) {
  require(path != "-", ErrorKind::usage, "a baseline is a file: expected its name, found -");
  require(!std::filesystem::exists(path), ErrorKind::usage, "{}: exists already", path);
  return path;
}

}  // namespace

BaselineWriter::BaselineWriter(const std::string& path, const BaselineHeader& header)
    : file_(absent(path)), codes_(static_cast<size_t>(header.vocab_size)) {
  FileHeader raw{};
  std::memcpy(raw.magic, kMagic, sizeof kMagic);
  raw.version = kVersion;
  raw.vocab_size = uint32_t(header.vocab_size);
  raw.window = uint32_t(header.window);
  raw.n_windows = uint32_t(header.n_windows);
  raw.tokens_checksum = header.tokens_checksum;
  header.model_name.copy(raw.model_name, sizeof raw.model_name - 1);
  write(&raw, sizeof raw);
}

void BaselineWriter::write(const void* data, size_t bytes) {
  file_.write({static_cast<const std::byte*>(data), bytes});
}

void BaselineWriter::add(std::span<const float> log_probs, Token next) {
  assert(log_probs.size() == codes_.size());
  const float largest = *std::ranges::max_element(log_probs);
  for (size_t i = 0; i < codes_.size(); ++i) {
    codes_[i] = uint16_t(std::lround(std::min((largest - log_probs[i]) / kStep, 65535.0f)));
  }
  write(&log_probs[size_t(next)], sizeof(float));
  write(&largest, sizeof(float));
  write(codes_.data(), codes_.size() * sizeof(uint16_t));
}

void BaselineWriter::finish() {
  file_.finish();
}

BaselineReader::BaselineReader(const std::string& path)
    : file_(path), header_(read_header(file_)), at_(sizeof(FileHeader)) {
  file_.sequential(file_.bytes());
}

void BaselineReader::require_same(const BaselineHeader& other) const {
  const auto same = [&](const char* what, int64_t found, int64_t expected) {
    require(found == expected, ErrorKind::format, "{}: {}: expected {}, found {}", file_.path(), what, expected, found);
  };
  same("vocabulary", header_.vocab_size, other.vocab_size);
  same("tokens per window", header_.window, other.window);
  same("windows", header_.n_windows, other.n_windows);
  require(header_.tokens_checksum == other.tokens_checksum, ErrorKind::format,
          "{}: was made of other tokens (another text, tokenizer or BOS)", file_.path());
}

float BaselineReader::next(std::span<float> log_probs) {
  assert(log_probs.size() == size_t(header_.vocab_size) && at_ < file_.size());
  const std::byte* row = file_.bytes().data() + at_;
  at_ += row_bytes(header_.vocab_size);
  float of_next;
  std::memcpy(&of_next, row, sizeof of_next);
  // `largest` is for people; normalising gives it back, with the codes' rounding evened out.
  const std::byte* codes = row + 2 * sizeof(float);
  double sum = 0;
  for (size_t i = 0; i < log_probs.size(); ++i) {
    uint16_t code;
    std::memcpy(&code, codes + 2 * i, sizeof code);
    log_probs[i] = -float(code) * kStep;
    sum += std::exp(double(log_probs[i]));
  }
  for (float& value : log_probs) value -= float(std::log(sum));
  return of_next;
}

}  // namespace hearth
